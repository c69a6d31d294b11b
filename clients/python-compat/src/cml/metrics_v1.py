"""Tracks and reads metrics of models; on Plumbline."""

from plumbline_compat import (
    read_metrics,
    track_aggregate_metrics,
    track_delayed_metrics,
    track_metric,
)

__all__ = ["read_metrics", "track_aggregate_metrics", "track_delayed_metrics", "track_metric"]
