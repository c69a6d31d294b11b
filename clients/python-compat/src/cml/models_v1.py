"""Decorates and calls models; on Plumbline."""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

from plumbline_compat import call_model, model_decorator

__all__ = ["call_model", "cml_model"]


def cml_model(
    function: Union[Callable[..., Any], bool, None] = None,
    *options: Any,
    metrics: bool = False,
    dev: bool = False,
    dev_model_crn: Optional[str] = None,
    dev_model_build_crn: Optional[str] = None,
    dev_model_deployment_crn: Optional[str] = None,
    dev_model_deploy_crn: Optional[str] = None,
) -> Callable[..., Any]:
    """Decorates a predict function, with or without parentheses; metrics are off by default.

    With ``metrics=True`` it returns ``{"prediction": ..., "uuid": ..., "model_deployment_crn":
    ...}`` and what ``track_metric`` noted is posted. ``dev=True`` keeps that in the process.
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
