"""The functions that model code calls, on the one client that a process has by default."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, Optional, TypeVar, cast, overload

from plumbline.client import Client, Row
from plumbline.forking import renew_after_fork
from plumbline.identity import DEV_DEPLOYMENT_CRN
from plumbline.prediction import Prediction

if TYPE_CHECKING:
    import pandas

    from plumbline.delivery import Receipt

logger = logging.getLogger("plumbline")

F = TypeVar("F", bound=Callable[..., Any])


class Defaults:
    """The clients that functions use which are not given one; made at the first call."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._client: Optional[Client] = None
        self._dev: Optional[Client] = None
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another process, another lock; the clients see to themselves."""
        self._lock = threading.RLock()

    def client(self, dev: bool = False) -> Client:
        """Returns the process's client, or the one that keeps everything in the process."""
        found = self._dev if dev else self._client
        if found is not None:
            return found
        with self._lock:
            if dev:
                if self._dev is None:
                    self._dev = Client(local=True, model_deployment_crn=DEV_DEPLOYMENT_CRN)
                    logger.info("plumbline: dev=True: metrics stay in this process")
                return self._dev
            self._client = self._client or Client()
            return self._client

    def replace(self, client: Client) -> None:
        """Makes ``client`` the process's; the earlier one is closed."""
        with self._lock:
            earlier, self._client = self._client, client
        if earlier is not None and earlier is not client:
            earlier.close()


defaults = Defaults()


def default_client(dev: bool = False) -> Client:
    """Returns the client of this process, made of the environment at the first call.

    With ``dev=True`` the one that keeps everything in the process.
    """
    return defaults.client(dev)


def configure(**settings: Any) -> Client:
    """Makes the process's client with these settings, those of :class:`plumbline.Client`.

    The one before is closed, which sends what it has for at most its own ``exit_timeout``.
    """
    client = Client(**settings)
    defaults.replace(client)
    return client


@overload
def track_predictions(function: F) -> F: ...


@overload
def track_predictions(
    *,
    client: Optional[Client] = None,
    model_deployment_crn: Optional[str] = None,
    model_build_crn: Optional[str] = None,
    model_crn: Optional[str] = None,
    envelope: Literal[False] = False,
    failures: bool = True,
    dev: bool = False,
) -> Callable[[F], F]: ...


@overload
def track_predictions(
    *,
    client: Optional[Client] = None,
    model_deployment_crn: Optional[str] = None,
    model_build_crn: Optional[str] = None,
    model_crn: Optional[str] = None,
    envelope: Literal[True],
    failures: bool = True,
    dev: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def track_predictions(
    function: Optional[F] = None,
    *,
    client: Optional[Client] = None,
    model_deployment_crn: Optional[str] = None,
    model_build_crn: Optional[str] = None,
    model_crn: Optional[str] = None,
    envelope: bool = False,
    failures: bool = True,
    dev: bool = False,
) -> Any:
    """Decorates a predict function, plain or ``async``, so that each call is tracked.

    ::

        @plumbline.track_predictions
        def predict(args):
            plumbline.track_metric("probability", p)
            return p

    The function returns what it returned before; ``plumbline.current_prediction().uuid`` inside
    it, or ``envelope=True``, tells the UUID that labels need. With ``envelope`` the result is
    ``{"prediction": ..., "uuid": ..., "model_deployment_crn": ...}`` (the CRN is None until the
    server was asked for it).

    When the function raises, the prediction is sent with ``failed: true`` and what was tracked
    until then, and the exception goes on; with ``failures=False`` nothing is sent. Decorating
    never fails and never touches the network. A generator function is tracked as it is called,
    not while it is being read.
    """

    def tracked() -> Prediction:
        return (client or defaults.client(dev)).prediction(
            model_deployment_crn=model_deployment_crn,
            model_build_crn=model_build_crn,
            model_crn=model_crn,
            failures=failures,
        )

    def wrapped(prediction: Prediction, result: Any) -> Any:
        if not envelope:
            return result
        crn = model_deployment_crn or (client or defaults.client(dev)).model_deployment_crn
        return {"prediction": result, "uuid": prediction.uuid, "model_deployment_crn": crn}

    def decorate(function: F) -> F:
        if _is_async(function):

            @wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with tracked() as prediction:
                    result = await function(*args, **kwargs)
                return wrapped(prediction, result)

            return cast(F, run_async)

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with tracked() as prediction:
                result = function(*args, **kwargs)
            return wrapped(prediction, result)

        return cast(F, run)

    return decorate if function is None else decorate(function)


def _is_async(function: Callable[..., Any]) -> bool:
    from inspect import iscoroutinefunction

    call = getattr(function, "__call__", None)  # noqa: B004 - an object may have an async one
    return iscoroutinefunction(function) or iscoroutinefunction(call)


def track_delayed_metrics(
    metrics: Mapping[str, Any], prediction_uuid: str, dev: bool = False
) -> Optional[Receipt]:
    """Adds values that are known later to a prediction; see Client.track_delayed_metrics."""
    return defaults.client(dev).track_delayed_metrics(metrics, prediction_uuid)


def track_aggregate_metrics(
    metrics: Mapping[str, Any],
    start_timestamp_ms: int,
    end_timestamp_ms: int,
    model_deployment_crn: Optional[str] = None,
    dev: bool = False,
) -> Optional[Receipt]:
    """Tracks values of a deployment over a span; see Client.track_aggregate_metrics."""
    return defaults.client(dev).track_aggregate_metrics(
        metrics, start_timestamp_ms, end_timestamp_ms, model_deployment_crn
    )


def read_metrics(
    model_deployment_crn: Optional[str] = None,
    start_timestamp_ms: Optional[int] = None,
    end_timestamp_ms: Optional[int] = None,
    model_crn: Optional[str] = None,
    model_build_crn: Optional[str] = None,
    dev: bool = False,
) -> dict[str, list[Row]]:
    """Returns ``{"metrics": [row, ...]}``; see Client.read_metrics."""
    return defaults.client(dev).read_metrics(
        model_deployment_crn, start_timestamp_ms, end_timestamp_ms, model_crn, model_build_crn
    )


def read_metrics_df(
    model_deployment_crn: Optional[str] = None,
    start_timestamp_ms: Optional[int] = None,
    end_timestamp_ms: Optional[int] = None,
    model_crn: Optional[str] = None,
    model_build_crn: Optional[str] = None,
    dev: bool = False,
) -> pandas.DataFrame:
    """Returns the rows as a DataFrame; see Client.read_metrics_df."""
    return defaults.client(dev).read_metrics_df(
        model_deployment_crn, start_timestamp_ms, end_timestamp_ms, model_crn, model_build_crn
    )


def flush(timeout: Optional[float] = None) -> bool:
    """Waits until what was tracked before is stored or rejected; see Client.flush."""
    return defaults.client().flush(timeout)
