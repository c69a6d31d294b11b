"""Code as it is written for cml and cdsw, not a line of it changed."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import cdsw
import cml.metrics_v1 as metrics
import cml.models_v1 as models
import cml.utils_v1 as utils
import plumbline_compat
import pytest
from conftest import Scripted

import plumbline
from plumbline import tracking
from plumbline.identity import DEV_BUILD_CRN, DEV_DEPLOYMENT_CRN, DEV_MODEL_CRN

START_MS = 1596185125125


@pytest.fixture(autouse=True)
def own_defaults(monkeypatch: pytest.MonkeyPatch) -> Iterator[tracking.Defaults]:
    """Each test is a process of its own, as far as the default client goes."""
    mine = tracking.Defaults()
    monkeypatch.setattr(tracking, "defaults", mine)
    yield mine
    if mine._client is not None:
        mine._client.close(0)


@pytest.fixture(params=["server", "local"])
def deployment(request: pytest.FixtureRequest, crn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a replica of the daemon's, then of local development."""
    if request.param == "server":
        monkeypatch.setenv("PLUMBLINE_URL", request.getfixturevalue("server_url"))
    monkeypatch.setenv("PLUMBLINE_MODEL_DEPLOYMENT_CRN", crn)
    return crn


def test_a_model_and_its_job(deployment: str) -> None:
    @models.cml_model(metrics=True)
    def predict(args: dict[str, Any]) -> Any:
        metrics.track_metric("input", args)
        metrics.track_metric("probability", 0.25)
        return {"churn": False}

    answer = predict({"tenure": 5})
    assert set(answer) == {"prediction", "uuid", "model_deployment_crn"}
    assert answer["prediction"] == {"churn": False}
    assert answer["model_deployment_crn"] == deployment

    metrics.track_delayed_metrics({"final_label": True}, answer["uuid"])
    metrics.track_aggregate_metrics({"accuracy": 0.5}, START_MS, START_MS + 9, deployment)
    found = metrics.read_metrics(model_deployment_crn=deployment)["metrics"]
    assert [row["metrics"] for row in found] == [
        {"input": {"tenure": 5}, "probability": 0.25, "final_label": True},
        {"accuracy": 0.5},
    ]
    start_ms = found[0]["startTimeStampMs"]
    found = metrics.read_metrics(
        model_deployment_crn=deployment, start_timestamp_ms=start_ms, end_timestamp_ms=start_ms
    )["metrics"]
    assert len(found) == 1
    assert metrics.read_metrics(deployment, 0, START_MS)["metrics"][0]["predictionUuid"] == ""
    assert metrics.read_metrics(deployment, 0, START_MS - 1) == {"metrics": []}


def test_keywords_and_positions(deployment: str) -> None:
    uuid = cdsw.model_metrics(lambda: None)()["uuid"]
    cdsw.track_delayed_metrics(metrics={"a": 1}, prediction_uuid=uuid)
    cdsw.track_delayed_metrics({"b": 2}, deployment, uuid)  # the oldest order
    cdsw.track_delayed_metrics({"c": 3}, uuid, False)
    cdsw.track_aggregate_metrics(
        metrics={"d": 4},
        start_timestamp_ms=START_MS,
        end_timestamp_ms=START_MS,
        model_deployment_crn=deployment,
    )
    cdsw.track_aggregate_metrics({"e": 5}, START_MS, START_MS)
    rows = cdsw.read_metrics(model_deployment_crn=deployment)["metrics"]
    assert [row["metrics"] for row in rows] == [{"a": 1, "b": 2, "c": 3}, {"d": 4}, {"e": 5}]


def test_with_and_without_parentheses(deployment: str) -> None:
    def predict() -> str:
        """Predicts."""
        cdsw.track_metric("a", 1)
        return "yes"

    for off in (
        models.cml_model,
        models.cml_model(),
        models.cml_model(metrics=False),
        models.cml_model(False),
        cdsw.model_metrics(metrics=False),
    ):
        decorated = off(predict)
        assert decorated() == "yes"
        assert (decorated.__name__, decorated.__doc__) == ("predict", "Predicts.")
    assert metrics.read_metrics(deployment) == {"metrics": []}
    for on in (
        cdsw.model_metrics,
        cdsw.model_metrics(),
        models.cml_model(metrics=True),
        models.cml_model(True),
    ):
        decorated = on(predict)
        assert decorated()["prediction"] == "yes"
        assert decorated.__name__ == "predict"
    assert len(metrics.read_metrics(deployment)["metrics"]) == 4


def test_async_model(deployment: str) -> None:
    @models.cml_model(metrics=True)
    async def predict(n: int) -> int:
        await asyncio.sleep(0)
        metrics.track_metric("n", n)
        return n

    @models.cml_model
    async def off() -> Any:
        metrics.track_metric("n", 0)
        return await predict(2)

    assert asyncio.run(predict(1))["prediction"] == 1
    assert asyncio.run(off())["prediction"] == 2
    rows = metrics.read_metrics(deployment)["metrics"]
    assert [row["metrics"] for row in rows] == [{"n": 1}, {"n": 2}]


def test_failure_posts_nothing(deployment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict() -> None:
        metrics.track_metric("before", 1)
        raise LookupError("no model")

    with pytest.raises(LookupError, match="no model"):
        models.cml_model(metrics=True)(predict)()
    assert metrics.read_metrics(deployment) == {"metrics": []}
    monkeypatch.setenv("PLUMBLINE_TRACK_FAILURES", "1")
    with pytest.raises(LookupError, match="no model"):
        models.cml_model(metrics=True)(predict)()
    assert len(metrics.read_metrics(deployment)["metrics"]) == 1


def test_failures_are_asked_for_at_the_call(
    deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @models.cml_model(metrics=True)
    async def predict() -> None:
        raise LookupError("no model")

    for wanted in ("0", "1"):
        monkeypatch.setenv("PLUMBLINE_TRACK_FAILURES", wanted)
        with pytest.raises(LookupError, match="no model"):
            asyncio.run(predict())
    assert len(metrics.read_metrics(deployment)["metrics"]) == 1


def test_nan_becomes_null(deployment: str, caplog: pytest.LogCaptureFixture) -> None:
    plumbline_compat._is_null_said.clear()

    @models.cml_model(metrics=True)
    def predict() -> int:
        metrics.track_metric("a", float("nan"))
        metrics.track_metric("b", [0.1, {"c": float("inf")}])
        with pytest.raises(plumbline.ValueNotAllowed, match=r"metrics\.b"):
            metrics.track_metric("b", b"bytes")
        return 1

    answer = predict()
    assert answer["prediction"] == 1
    metrics.track_delayed_metrics({"d": float("nan")}, answer["uuid"])
    metrics.track_aggregate_metrics({"e": float("nan")}, START_MS, START_MS)
    rows = metrics.read_metrics(deployment)["metrics"]
    assert [row["metrics"] for row in rows] == [
        {"a": None, "b": [0.1, {"c": None}], "d": None},
        {"e": None},
    ]
    assert caplog.text.count("null is tracked: metrics.a: nan") == 1
    assert caplog.text.count("null is tracked") == 1


def test_async_callable_object(deployment: str) -> None:
    class Model:
        __name__ = "Model"

        async def __call__(self, n: int) -> int:
            await asyncio.sleep(0)
            metrics.track_metric("n", n)
            return n

    predict = models.cml_model(metrics=True)(Model())
    assert asyncio.run(predict(1))["prediction"] == 1
    (row,) = metrics.read_metrics(deployment)["metrics"]
    assert row["metrics"] == {"n": 1}


def test_decorator_takes_its_settings_by_position() -> None:
    for decorator in (models.cml_model, cdsw.model_metrics):
        predict = decorator(True, True, "crn:m", "crn:b", "crn:d")(lambda: 1)
        assert predict()["model_deployment_crn"] == "crn:d"
        assert decorator(True, True)(lambda: 1)()["model_deployment_crn"] == DEV_DEPLOYMENT_CRN
    with pytest.raises(TypeError, match="the first argument by position is metrics"):
        models.cml_model(lambda: 1, True)


def test_oldest_order_with_keywords(deployment: str) -> None:
    uuid = cdsw.model_metrics(lambda: None)()["uuid"]
    cdsw.track_delayed_metrics({"a": 1}, model_deployment_crn=deployment, prediction_uuid=uuid)
    cdsw.track_delayed_metrics({"b": 2}, deployment, prediction_uuid=uuid)
    cdsw.track_delayed_metrics({"c": 3}, prediction_uuid=uuid, dev=False)
    (row,) = cdsw.read_metrics(model_deployment_crn=deployment)["metrics"]
    assert row["metrics"] == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(TypeError, match="needs metrics and prediction_uuid"):
        cdsw.track_delayed_metrics({})


def test_metric_outside_of_a_model_is_ignored_with_a_warning() -> None:
    with pytest.warns(RuntimeWarning, match="metric 'a' is ignored"):
        metrics.track_metric("a", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @models.cml_model
        def predict() -> None:
            metrics.track_metric("a", 1)

        predict()


def test_dev_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_URL", "http://192.0.2.1:1")  # nobody is asked

    @models.cml_model(metrics=True, dev=True)
    def predict() -> int:
        metrics.track_metric("a", 1)
        return 1

    answer = predict()
    assert answer["model_deployment_crn"] == DEV_DEPLOYMENT_CRN
    metrics.track_delayed_metrics({"b": 2}, answer["uuid"], dev=True)
    metrics.track_aggregate_metrics({"c": 3}, START_MS, START_MS, DEV_DEPLOYMENT_CRN, dev=True)
    metrics.track_aggregate_metrics({"d": 4}, START_MS, START_MS, None, True)
    rows = metrics.read_metrics(model_deployment_crn=DEV_DEPLOYMENT_CRN, dev=True)["metrics"]
    assert [row["metrics"] for row in rows] == [{"a": 1, "b": 2}, {"c": 3}, {"d": 4}]
    assert (rows[0]["modelBuildCrn"], rows[0]["modelCrn"]) == (DEV_BUILD_CRN, DEV_MODEL_CRN)
    assert metrics.read_metrics(model_crn=DEV_MODEL_CRN, dev=True)["metrics"] == rows


@pytest.mark.parametrize("name", ["dev_model_deployment_crn", "dev_model_deploy_crn"])
def test_dev_mode_names_the_model(name: str) -> None:
    named: Any = {name: "crn:d", "dev_model_crn": "crn:m", "dev_model_build_crn": "crn:b"}

    @cdsw.model_metrics(dev=True, **named)
    def predict() -> None:
        cdsw.track_metric("a", 1)

    assert predict()["model_deployment_crn"] == "crn:d"
    filters: Any
    for filters in (
        {"model_crn": "crn:m"},
        {"model_build_crn": "crn:b"},
        {"model_deployment_crn": "crn:d"},
    ):
        rows = cdsw.read_metrics(**filters, dev=True)["metrics"]
        assert [row["metrics"] for row in rows] == [{"a": 1}]


def test_emulated_cdsw(deployment: str) -> None:
    emulated = utils._emulate_cdsw()
    assert emulated is cdsw
    for name in (
        "model_metrics",
        "track_metric",
        "track_delayed_metrics",
        "read_metrics",
        "track_aggregate_metrics",
        "call_model",
    ):
        assert callable(getattr(emulated, name))


def test_call_model_returns_the_envelope(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = {"success": True, "response": {"prediction": {"p": 0.5}, "uuid": "u"}}
    scripted.answer = lambda path, body: (200, envelope)
    monkeypatch.setenv("PLUMBLINE_MODEL_SERVICE_URL", scripted.url + "/model")
    assert models.call_model("key", {"a": 1}) == envelope
    assert cdsw.call_model(model_access_key="key", ipt={"a": 1}, api_key="secret") == envelope
    path, headers, body = scripted.requests[1]
    assert (path, body) == ("/model", [{"accessKey": "key", "request": {"a": 1}}])
    assert headers["Authorization"] == "Bearer secret"
    scripted.answer = lambda path, body: (500, {"success": False, "errors": "no"})
    assert models.call_model("key", {})["success"] is False


def test_where_models_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(plumbline.PlumblineError, match="CDSW_DOMAIN is not set"):
        models.call_model("key", {})
    monkeypatch.setenv("CDSW_API_URL", "http://[bad")
    with pytest.raises(plumbline.PlumblineError, match="CDSW_API_URL is no URL"):
        models.call_model("key", {})
    monkeypatch.setenv("CDSW_API_URL", "https://ml.example.com/api/v1")
    assert plumbline_compat._model_url() == "https://modelservice.ml.example.com/model"
    monkeypatch.setenv("CDSW_DOMAIN", "other.example.com")
    assert plumbline_compat._model_url() == "https://modelservice.other.example.com/model"
