"""What the modules ``cml.metrics_v1``, ``cml.models_v1`` and ``cdsw`` have in common."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from decimal import Decimal
from functools import wraps
from inspect import iscoroutinefunction
from threading import Event
from typing import Any, Optional, Union
from urllib.parse import urlsplit

import plumbline
from plumbline.identity import DEV_BUILD_CRN, DEV_DEPLOYMENT_CRN, DEV_MODEL_CRN
from plumbline.values import Encoder

logger = logging.getLogger("plumbline")

Function = Callable[..., Any]

# True inside a decorated function whose metrics are off: what it tracks is not wanted.
_is_off: ContextVar[bool] = ContextVar("plumbline_compat_is_off", default=False)

_is_null_said = Event()  # once in a process


def track_metric(key: str, value: Any) -> None:
    """Notes a metric of the prediction that is being made.

    Does nothing in a function whose metrics are off, and warns outside of any.
    """
    if _is_off.get():
        return
    try:
        try:
            plumbline.track_metric(key, value)
        except plumbline.ValueNotAllowed as error:
            plumbline.track_metric(key, _with_nulls(value, error))
    except plumbline.OutsidePrediction as error:
        # Python says it once for each place in the code.
        warnings.warn(f"metric {key!r} is ignored: {error}", RuntimeWarning, stacklevel=2)


def _with_nulls(value: Any, error: plumbline.ValueNotAllowed) -> Any:
    """Returns ``value`` with null for NaN and infinity; raises ``error`` if there is another."""
    try:
        text = Encoder("null").encode(value)
    except plumbline.ValueNotAllowed:
        raise error from None
    if not _is_null_said.is_set():
        _is_null_said.set()
        logger.warning("plumbline: null is tracked: %s", error)
    return json.loads(text, parse_float=Decimal)


def track_delayed_metrics(
    metrics: Mapping[str, Any],
    *others: Union[str, bool],
    prediction_uuid: Optional[str] = None,
    model_deployment_crn: Optional[str] = None,
    dev: Union[bool, str] = False,
) -> None:
    """Adds values that are known later to a prediction: ``(metrics, prediction_uuid, dev=False)``.

    The oldest order is taken too: ``(metrics, model_deployment_crn, prediction_uuid)``, where any
    but the metrics may be keywords. Which deployment it is does not matter: the UUID says it.
    """
    uuids = [other for other in (*others, dev) if isinstance(other, str)]
    uuid = prediction_uuid or (uuids[-1] if uuids else None)
    if uuid is None or len(others) > 2:
        raise TypeError("track_delayed_metrics needs metrics and prediction_uuid")
    is_dev = True in (*others, dev)
    try:
        plumbline.track_delayed_metrics(metrics, uuid, is_dev)
    except plumbline.ValueNotAllowed as error:
        plumbline.track_delayed_metrics(_with_nulls(metrics, error), uuid, is_dev)


def track_aggregate_metrics(
    metrics: Mapping[str, Any],
    start_timestamp_ms: int,
    end_timestamp_ms: int,
    model_deployment_crn: Optional[str] = None,
    dev: bool = False,
) -> None:
    """Tracks values of a deployment over a span of time, in milliseconds since 1970."""

    def track(metrics: Mapping[str, Any]) -> None:
        plumbline.track_aggregate_metrics(
            metrics, start_timestamp_ms, end_timestamp_ms, model_deployment_crn, dev
        )

    try:
        track(metrics)
    except plumbline.ValueNotAllowed as error:
        track(_with_nulls(metrics, error))


def read_metrics(
    model_deployment_crn: Optional[str] = None,
    start_timestamp_ms: Optional[int] = None,
    end_timestamp_ms: Optional[int] = None,
    model_crn: Optional[str] = None,
    model_build_crn: Optional[str] = None,
    dev: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Returns ``{"metrics": [row, ...]}`` in the order of insertion; both times are inclusive."""
    return plumbline.read_metrics(
        model_deployment_crn,
        start_timestamp_ms,
        end_timestamp_ms,
        model_crn,
        model_build_crn,
        dev,
    )


def model_decorator(
    function: Union[Function, bool, None],
    options: tuple[Any, ...],
    metrics: bool,
    dev: bool,
    dev_model_crn: Optional[str],
    dev_model_build_crn: Optional[str],
    dev_model_deployment_crn: Optional[str],
) -> Function:
    """Returns the decorated function, or the decorator when ``function`` is none.

    ``function`` and ``options`` may be metrics, dev and the CRNs of model, build and deployment.
    """
    is_on = metrics
    if isinstance(function, bool):
        is_on = function
        given = (dev, dev_model_crn, dev_model_build_crn, dev_model_deployment_crn)
        settings: list[Any] = [*options, *given[len(options) :]]
        dev, dev_model_crn, dev_model_build_crn, dev_model_deployment_crn = settings
    elif options:
        raise TypeError("the first argument by position is metrics: True or False")

    def decorate(function: Function) -> Function:
        if not is_on:
            return _without_metrics(function)
        without, with_failures = (
            plumbline.track_predictions(
                envelope=True,
                failures=failures,
                dev=dev,
                model_crn=(dev_model_crn or DEV_MODEL_CRN) if dev else None,
                model_build_crn=(dev_model_build_crn or DEV_BUILD_CRN) if dev else None,
                model_deployment_crn=(dev_model_deployment_crn or DEV_DEPLOYMENT_CRN)
                if dev
                else None,
            )(_with_metrics(function))
            for failures in (False, True)
        )

        @wraps(without)
        def run(*args: Any, **kwargs: Any) -> Any:
            """Of an async function, returns its coroutine."""
            wants_failures = os.environ.get("PLUMBLINE_TRACK_FAILURES") == "1"
            return (with_failures if wants_failures else without)(*args, **kwargs)

        if _is_async(function):

            @wraps(without)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                return await run(*args, **kwargs)

            return run_async
        return run

    return decorate(function) if callable(function) else decorate


def _without_metrics(function: Function) -> Function:
    return _switched(function, True)


def _with_metrics(function: Function) -> Function:
    """A function with metrics may be called by one without."""
    return _switched(function, False)


def _switched(function: Function, is_off: bool) -> Function:
    if _is_async(function):

        @wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            token = _is_off.set(is_off)
            try:
                return await function(*args, **kwargs)
            finally:
                _is_off.reset(token)

        return run_async

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        token = _is_off.set(is_off)
        try:
            return function(*args, **kwargs)
        finally:
            _is_off.reset(token)

    return run


def _is_async(function: Function) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - an object may have an async one
    return iscoroutinefunction(function) or iscoroutinefunction(call)


def call_model(model_access_key: str, ipt: Any, api_key: str = "") -> Any:
    """Calls a deployed model and returns the whole envelope, as the platform answers it.

    What the function returned stands under ``["response"]["prediction"]``, its UUID under
    ``["response"]["uuid"]``. Raises plumbline.Unreachable, and plumbline.PlumblineError when the
    answer is no JSON or the environment does not say where models are.
    """
    import urllib3

    url = _model_url()
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    body = json.dumps({"accessKey": model_access_key, "request": ipt}).encode()
    try:
        answer = urllib3.PoolManager().request(
            "POST", url, body=body, headers=headers, retries=False, timeout=300.0
        )
    except urllib3.exceptions.HTTPError as error:
        raise plumbline.Unreachable(f"{url}: {error}") from error
    try:
        return json.loads(answer.data)
    except ValueError:
        raise plumbline.PlumblineError(f"{url}: {answer.status}, and no JSON") from None


def _model_url() -> str:
    given = os.environ.get("PLUMBLINE_MODEL_SERVICE_URL")
    if given:
        return given
    domain = os.environ.get("CDSW_DOMAIN")
    if domain:
        return f"https://modelservice.{domain}/model"
    api_url = os.environ.get("CDSW_API_URL", "")
    try:
        parts = urlsplit(api_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise plumbline.PlumblineError(f"CDSW_API_URL is no URL: {api_url!r}") from None
    if not parts.hostname:
        raise plumbline.PlumblineError("CDSW_DOMAIN is not set: where are models served?")
    return f"{parts.scheme}://modelservice.{parts.hostname}{port}/model"
