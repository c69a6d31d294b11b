"""The older module for metrics of models; on Plumbline."""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

from plumbline_compat import (
    call_model,
    model_decorator,
    read_metrics,
    track_aggregate_metrics,
    track_delayed_metrics,
    track_metric,
)

__all__ = [
    "call_model",
    "model_metrics",
    "read_metrics",
    "track_aggregate_metrics",
    "track_delayed_metrics",
    "track_metric",
]


def model_metrics(
    function: Union[Callable[..., Any], bool, None] = None,
    *options: Any,
    metrics: bool = True,
    dev: bool = False,
    dev_model_crn: Optional[str] = None,
    dev_model_build_crn: Optional[str] = None,
    dev_model_deployment_crn: Optional[str] = None,
    dev_model_deploy_crn: Optional[str] = None,
) -> Callable[..., Any]:
    """Decorates a predict function, with or without parentheses; metrics are on by default.

    See ``cml.models_v1.cml_model``.
    """
    return model_decorator(
        function,
        options,
        metrics,
        dev,
        dev_model_crn,
        dev_model_build_crn,
        dev_model_deployment_crn or dev_model_deploy_crn,
    )
