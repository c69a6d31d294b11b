"""Plumbline: metrics of ML models in production, from the predict function to the DataFrame.

::

    import plumbline

    @plumbline.track_predictions
    def predict(args):
        plumbline.track_metric("probability", 0.31)
        return {"churn": False}

Importing this loads neither an HTTP library nor numpy or pandas, and opens no socket.
"""

from plumbline.client import Client
from plumbline.delivery import Receipt
from plumbline.errors import (
    OutsidePrediction,
    PlumblineError,
    Problem,
    ServerError,
    Unreachable,
    ValueNotAllowed,
)
from plumbline.identity import uuid7
from plumbline.prediction import Prediction, current_prediction, track_metric
from plumbline.sender import Stats
from plumbline.tracking import (
    configure,
    default_client,
    flush,
    read_metrics,
    read_metrics_df,
    track_aggregate_metrics,
    track_delayed_metrics,
    track_predictions,
)

__version__ = "0.1.0"

__all__ = [
    "Client",
    "OutsidePrediction",
    "PlumblineError",
    "Prediction",
    "Problem",
    "Receipt",
    "ServerError",
    "Stats",
    "Unreachable",
    "ValueNotAllowed",
    "configure",
    "current_prediction",
    "default_client",
    "flush",
    "read_metrics",
    "read_metrics_df",
    "track_aggregate_metrics",
    "track_delayed_metrics",
    "track_metric",
    "track_predictions",
    "uuid7",
]
