"""What a client does with a server, and does the same with the local store."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from typing import Any, Callable, Optional
from uuid import UUID

import pytest

import plumbline
from plumbline import Client, OutsidePrediction, Problem, ServerError
from plumbline.identity import uuid7

START_MS = 1596185125125


def metrics_of(client: Client, **filters: Any) -> list[Any]:
    filters = filters or {"model_deployment_crn": client.model_deployment_crn}
    return [row["metrics"] for row in client.read_metrics(**filters)["metrics"]]


def track(client: Client, metrics: dict[str, Any], start_ms: int = START_MS, **more: Any) -> str:
    uuid = more.pop("prediction_uuid", None) or uuid7(start_ms)
    client.track_prediction(
        metrics,
        prediction_uuid=uuid,
        start_timestamp_ms=start_ms,
        end_timestamp_ms=start_ms + 3,
        **more,
    )
    return str(uuid)


def test_times_and_uuids_of_other_types(client: Client, crn: str) -> None:
    import numpy

    start_ms: Any = numpy.int64(START_MS)
    uuid = UUID(uuid7(START_MS))
    more: Any = {"prediction_uuid": uuid, "start_timestamp_ms": start_ms}
    client.track_prediction({"a": 1}, end_timestamp_ms=start_ms, **more)
    client.track_delayed_metrics({"b": 2}, uuid)  # type: ignore[arg-type]
    ids: Any = {"event_id": UUID(uuid7(START_MS))}
    client.track_aggregate_metrics({"c": 3}, start_ms, start_ms, **ids)
    assert metrics_of(client) == [{"a": 1, "b": 2}, {"c": 3}]
    with pytest.raises(plumbline.ValueNotAllowed, match="startTimestampMs: bytes is not JSON"):
        client.track_aggregate_metrics({}, b"1", START_MS)  # type: ignore[arg-type]
    assert client.read_metrics(crn, start_ms, start_ms)["metrics"]


def test_read_of_nothing(client: Client) -> None:
    assert client.read_metrics(client.model_deployment_crn) == {"metrics": []}


def test_row_has_seven_members_in_their_order(client: Client, crn: str) -> None:
    uuid = track(client, {"b": 1, "a": {"c": [0.1, None, "x"]}}, model_crn="crn:m" + crn)
    row = client.read_metrics(crn)["metrics"][0]
    assert list(row.items()) == [
        ("modelDeploymentCrn", crn),
        ("modelBuildCrn", ""),
        ("modelCrn", "crn:m" + crn),
        ("startTimeStampMs", START_MS),
        ("endTimeStampMs", START_MS + 3),
        ("predictionUuid", uuid),
        ("metrics", {"b": 1, "a": {"c": [0.1, None, "x"]}}),
    ]
    assert list(row["metrics"]) == ["b", "a"]


def test_order_is_that_of_insertion(client: Client, crn: str) -> None:
    track(client, {"n": 1}, START_MS + 5)
    client.track_aggregate_metrics({"n": 2}, START_MS, START_MS)
    track(client, {"n": 3}, START_MS)
    assert metrics_of(client) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [r["predictionUuid"] == "" for r in client.rows(model_deployment_crn=crn)] == [
        False,
        True,
        False,
    ]


def test_label_is_merged_before_and_after_its_prediction(client: Client) -> None:
    early = uuid7(START_MS)
    client.track_delayed_metrics({"label": True}, early.upper())
    track(client, {"a": 1, "b": 2}, prediction_uuid=early)
    late = track(client, {"a": 1, "b": 2})
    client.track_delayed_metrics({"a": 3, "c": 4}, late)
    client.track_delayed_metrics({"c": 5}, late)
    found = metrics_of(client)
    assert found == [{"a": 1, "b": 2, "label": True}, {"a": 3, "b": 2, "c": 5}]
    assert [list(metrics) for metrics in found] == [["a", "b", "label"], ["a", "b", "c"]]


def test_window_is_inclusive_and_means_the_start(client: Client, crn: str) -> None:
    for n in range(4):
        track(client, {"n": n}, START_MS + n)
    found = metrics_of(
        client,
        model_deployment_crn=crn,
        start_timestamp_ms=START_MS + 1,
        end_timestamp_ms=START_MS + 2,
    )
    assert found == [{"n": 1}, {"n": 2}]


def test_filters_narrow_together(client: Client, crn: str) -> None:
    build, model = "crn:build" + crn, "crn:model" + crn
    client.model_deployed(build, crn, "ada", "deployed", model_crn=model)
    uuid = track(client, {"n": 1, "m": 2})
    client.track_aggregate_metrics({"n": 3}, START_MS, START_MS + 9)
    assert metrics_of(client, model_build_crn=build) == [{"n": 1, "m": 2}, {"n": 3}]
    assert metrics_of(client, model_crn=model, model_build_crn="crn:another") == []

    def rows(**filters: Any) -> list[Any]:
        return [row["metrics"] for row in client.rows(model_deployment_crn=crn, **filters)]

    assert rows(kind="aggregate") == [{"n": 3}]
    assert rows(kind="prediction") == [{"n": 1, "m": 2}]
    assert rows(prediction_uuid=[uuid.upper(), uuid7(1)]) == [{"n": 1, "m": 2}]
    assert rows(key="n") == [{"n": 1}, {"n": 3}]


def test_same_aggregate_is_a_second_row_unless_its_id_says_otherwise(client: Client) -> None:
    event_id = uuid7(START_MS)
    for _ in range(2):
        client.track_aggregate_metrics({"a": 1}, START_MS, START_MS)
        client.track_aggregate_metrics({"b": 1}, START_MS, START_MS, event_id=event_id)
    assert sorted(map(str, metrics_of(client))) == ["{'a': 1}", "{'a': 1}", "{'b': 1}"]


def event(kind: str, crn: Optional[str] = None, **members: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"event": kind, "metrics": {}}
    if kind != "delayed_metrics":
        base.update(modelDeploymentCrn=crn, startTimestampMs=START_MS, endTimestampMs=START_MS)
    if kind != "aggregate_metrics":
        base["predictionUuid"] = "12f34405-38fa-42de-9ed4-68dbd82d36f6"
    return {k: v for k, v in {**base, **members}.items() if v is not ...}


def deployed(**members: Any) -> dict[str, Any]:
    base = {"event": "model_deployed", "modelBuildCrn": "b", "modelDeploymentCrn": "d"}
    return {**base, "userName": "u", "status": "deployed", **members}


REFUSED = {
    "not a UUID": (
        event("delayed_metrics", predictionUuid="abc"),
        "invalid_field",
        "predictionUuid",
        'not a UUID: "abc"',
    ),
    "UUID that is a number": (
        event("delayed_metrics", predictionUuid=3),
        "invalid_field",
        "predictionUuid",
        "must be a UUID as text",
    ),
    "no metrics": (
        event("delayed_metrics", metrics=...),
        "missing_field",
        "metrics",
        "delayed_metrics needs it",
    ),
    "metrics that are a list": (
        event("delayed_metrics", metrics=[]),
        "invalid_field",
        "metrics",
        "must be an object",
    ),
    "unknown event": ({"event": "x"}, "unknown_event", "event", 'not an event: "x"'),
    "empty CRN": (
        event("track_metrics", ""),
        "invalid_field",
        "modelDeploymentCrn",
        "must not be empty",
    ),
    "long CRN": (
        event("track_metrics", "c" * 1025),
        "invalid_field",
        "modelDeploymentCrn",
        "at most 1024 bytes",
    ),
    "time that is text": (
        event("track_metrics", "c", startTimestampMs="1"),
        "invalid_field",
        "startTimestampMs",
        "must be a whole number of milliseconds",
    ),
    "time of the nineties": (
        event("aggregate_metrics", "c", startTimestampMs=1),
        "invalid_field",
        "startTimestampMs",
        "1 is before 2000-01-01T00:00:00.000Z",
    ),
    "time of the future": (
        event("aggregate_metrics", "c", endTimestampMs=START_MS * 10),
        "invalid_field",
        "endTimestampMs",
        "in the future",
    ),
    "end before start": (
        event("track_metrics", "c", endTimestampMs=START_MS - 1),
        "invalid_field",
        "endTimestampMs",
        f"{START_MS - 1} is before the start, {START_MS}",
    ),
    "large metrics": (
        event("delayed_metrics", metrics={"a": "x" * 102400}),
        "too_large",
        "metrics",
        "takes 102408 bytes without white space, more than the limit",
    ),
    "failed that is text": (
        event("track_metrics", "c", failed="yes"),
        "invalid_field",
        "failed",
        "must be true or false",
    ),
    "event that is a list": ({"event": ["x"]}, "invalid_field", "event", ""),
    "status": (
        deployed(status="zzz"),
        "invalid_field",
        "status",
        'must be deploying, deployed, stopping, stopped or unknown, not "zzz"',
    ),
    "number of a deployment": (
        deployed(modelDeploymentId="7"),
        "invalid_field",
        "modelDeploymentId",
        "must be a whole number",
    ),
    "number of a build": (
        {
            "event": "model_built",
            "projectCrn": "p",
            "modelCrn": "m",
            "modelName": "n",
            "modelBuildCrn": "b",
            "buildNumber": "x",
            "userName": "u",
        },
        "invalid_field",
        "buildNumber",
        "must be a whole number",
    ),
    "depth": (
        event("delayed_metrics", metrics={"a": eval("[" * 32 + "]" * 32)}),
        "invalid_value",
        None,
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(client: Client, name: str) -> None:
    bad, code, field, message = REFUSED[name]
    good = event("delayed_metrics", predictionUuid=uuid7(START_MS))
    receipt = client.post_events([bad, good])
    assert (receipt.received, receipt.accepted, receipt.rejected_count) == (2, 1, 1)
    note = receipt.rejected[0]
    assert (note["index"], note["code"]) == (0, code)
    assert field is None or note["field"] == field
    assert message in note["message"]


def test_large_number_is_refused(client: Client) -> None:
    """The encoder does not let it through; others may."""
    good = json.dumps(event("delayed_metrics")).encode()
    bad = good.replace(b"{}", b'{"a":1' + b"0" * 64 + b"}")
    receipt = client._post_now([bad, good])
    assert [(note["index"], note["code"]) for note in receipt.rejected] == [(0, "invalid_value")]


def test_same_is_a_duplicate_other_content_a_conflict(client: Client, crn: str) -> None:
    uuid = uuid7(START_MS)
    once = event("track_metrics", crn, predictionUuid=uuid, metrics={"a": 1})
    other = event("track_metrics", crn, predictionUuid=uuid, metrics={"a": 2})
    label = event("delayed_metrics", predictionUuid=uuid, eventId=uuid7(1), metrics={"l": 1})
    other_label = {**label, "metrics": {"l": 2}}
    assert client.post_events([once, label]).accepted == 2
    receipt = client.post_events([once, label, other, other_label])
    assert (receipt.accepted, receipt.duplicate) == (0, 2)
    assert [(n["index"], n["code"], n["field"]) for n in receipt.rejected] == [
        (2, "conflict", "predictionUuid"),
        (3, "conflict", "eventId"),
    ]
    assert metrics_of(client, model_deployment_crn=crn) == [{"a": 1, "l": 1}]


def test_deployment_has_one_build(client: Client, crn: str) -> None:
    client.model_deployed("crn:b" + crn, crn, "ada", "deploying")
    client.model_deployed("crn:b" + crn, crn, "ada", "deployed")
    with pytest.raises(ServerError) as caught:
        client.model_deployed("crn:other" + crn, crn, "ada", "stopped")
    assert (caught.value.status, caught.value.code) == (409, "conflict")
    assert client.deployment(crn)["status"] == "deployed"


def test_times_as_older_clients_spell_them(client: Client, crn: str) -> None:
    base = {"event": "aggregate_metrics", "modelDeploymentCrn": crn, "metrics": {"a": 1}}
    client.post_events([{**base, "startTimeStampMs": START_MS, "endTimeStampMs": START_MS}])
    assert metrics_of(client) == [{"a": 1}]


def test_label_goes_to_the_first_prediction_of_its_uuid(client: Client, crn: str) -> None:
    uuid = uuid7(START_MS)
    track(client, {"n": 1}, prediction_uuid=uuid)
    track(client, {"n": 2}, START_MS + 1, prediction_uuid=uuid)
    client.track_delayed_metrics({"l": 1}, uuid)
    assert metrics_of(client) == [{"n": 1, "l": 1}, {"n": 2}]


def test_catalog(client: Client, crn: str) -> None:
    number = int.from_bytes(crn[-12:].encode(), "big") % 10**9
    client.model_deployed("crn:b" + crn, crn, "ada", "deployed", model_deployment_id=number)
    assert client.deployment(crn)["lastPredictionMs"] is None
    track(client, {}, START_MS)
    found = client.deployment(crn)
    assert found.pop("firstSeenMs") > START_MS
    assert found == {
        "modelDeploymentCrn": crn,
        "modelBuildCrn": "crn:b" + crn,
        "modelCrn": "",
        "projectCrn": "",
        "modelName": "",
        "modelDeploymentId": number,
        "status": "deployed",
        "environment": "",
        "trainingData": "unknown",
        "lastPredictionMs": START_MS,
    }
    assert crn in [deployment["modelDeploymentCrn"] for deployment in client.deployments()]
    with pytest.raises(ServerError) as caught:
        client.deployment("crn:nobody")
    assert (caught.value.status, caught.value.code) == (404, "not_found")


# ---- predictions --------------------------------------------------------------------------------


def test_decorated_function_returns_what_it_did(client: Client) -> None:
    @plumbline.track_predictions(client=client)
    def predict(x: int, *, y: int) -> int:
        "Adds."
        plumbline.track_metric("sum", x + y)
        return x + y

    assert predict(1, y=2) == 3
    assert (predict.__name__, predict.__doc__) == ("predict", "Adds.")
    assert metrics_of(client) == [{"sum": 3}]


def test_envelope_and_times(client: Client, crn: str) -> None:
    @plumbline.track_predictions(client=client, envelope=True)
    def predict() -> str:
        assert plumbline.current_prediction().uuid
        time.sleep(0.02)
        return "yes"

    before_ms = time.time_ns() // 1_000_000
    answer: Any = predict()
    row = client.read_metrics(crn)["metrics"][0]
    uuid = row["predictionUuid"]
    assert answer == {"prediction": "yes", "uuid": uuid, "model_deployment_crn": crn}
    assert row["startTimeStampMs"] >= before_ms
    assert row["endTimeStampMs"] >= row["startTimeStampMs"] + 20
    assert int(uuid.replace("-", "")[:12], 16) == row["startTimeStampMs"]
    assert (uuid[14], uuid[19] in "89ab") == ("7", True)


def test_values_are_taken_as_they_are_in_the_call(client: Client) -> None:
    features = {"a": [1]}
    with client.prediction() as prediction:
        plumbline.track_metric("features", features)
        features["a"].append(2)
        prediction.track("key", 1)
        prediction.track("key", 2)
    assert metrics_of(client) == [{"features": {"a": [1]}, "key": 2}]


def test_failure_is_tracked_and_goes_on(client: Client) -> None:
    @plumbline.track_predictions(client=client)
    def predict() -> None:
        plumbline.track_metric("before", 1)
        raise LookupError("no model")

    @plumbline.track_predictions(client=client, failures=False)
    def quiet() -> None:
        plumbline.track_metric("before", 2)
        raise LookupError("no model")

    for function in (predict, quiet):
        with pytest.raises(LookupError, match="no model"):
            function()
    assert metrics_of(client) == [{"before": 1}]


def test_nested_predictions_keep_apart(client: Client) -> None:
    with client.prediction():
        plumbline.track_metric("outer", 1)
        with client.prediction():
            plumbline.track_metric("inner", 1)
        plumbline.track_metric("outer again", 1)
    assert metrics_of(client) == [{"inner": 1}, {"outer": 1, "outer again": 1}]


def test_async_function(client: Client) -> None:
    @plumbline.track_predictions(client=client)
    async def predict(n: int) -> int:
        plumbline.track_metric("n", n)
        await asyncio.sleep(0.001 * (5 - n))
        plumbline.track_metric("again", n)
        await asyncio.to_thread(plumbline.track_metric, "thread", n)
        await asyncio.create_task(later(n))
        return n

    async def later(n: int) -> None:
        plumbline.track_metric("task", n)

    async def main() -> list[int]:
        return await asyncio.gather(*(predict(n) for n in range(5)))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    found = sorted(metrics_of(client), key=lambda metrics: metrics["n"])
    assert found == [{"n": n, "again": n, "thread": n, "task": n} for n in range(5)]


def test_threads_keep_apart(client: Client) -> None:
    barrier = threading.Barrier(8)

    @plumbline.track_predictions(client=client)
    def predict(n: int) -> None:
        barrier.wait(30)
        plumbline.track_metric("n", n)
        barrier.wait(30)
        plumbline.track_metric("same", n)

    threads = [threading.Thread(target=predict, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(metrics_of(client), key=lambda metrics: metrics["n"])
    assert found == [{"n": n, "same": n} for n in range(8)]


def test_thread_with_and_without_the_context(client: Client) -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            plumbline.track_metric("thread", 1)
        except OutsidePrediction as error:
            caught.append(error)

    with client.prediction():
        bare = threading.Thread(target=work)
        given = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        for thread in (bare, given):
            thread.start()
            thread.join()
    assert metrics_of(client) == [{"thread": 1}]
    assert len(caught) == 1
    assert "contextvars.copy_context().run" in str(caught[0])


def test_prediction_that_ends_in_another_context(client: Client) -> None:
    prediction = client.prediction()
    contextvars.copy_context().run(prediction.__enter__)
    prediction.track("a", 1)
    contextvars.copy_context().run(prediction.__exit__, None, None, None)
    assert metrics_of(client) == [{"a": 1}]


def test_track_outside_and_too_late(client: Client) -> None:
    with pytest.raises(OutsidePrediction, match="no prediction here"):
        plumbline.track_metric("a", 1)
    with client.prediction() as prediction:
        pass
    with pytest.raises(OutsidePrediction, match="is over"):
        prediction.track("a", 1)


def test_bad_value_names_its_path(client: Client) -> None:
    with pytest.raises(plumbline.ValueNotAllowed, match=r"metrics\.a\.b\[0\]: nan"):
        client.track_delayed_metrics({"a": {"b": [float("nan")]}}, uuid7(1))


# ---- what is refused ----------------------------------------------------------------------------


def test_refusal_reaches_on_error(
    request: pytest.FixtureRequest,
    client: Client,
    crn: str,
    make_client: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    problems: list[Problem] = []
    settings: Any = {"on_error": problems.append, "model_deployment_crn": crn}
    if "local" in request.node.name:
        mine = make_client(local=True, **settings)
    else:
        mine = make_client(request.getfixturevalue("server_url"), **settings)
    for _ in range(3):
        mine.track_delayed_metrics({"big": "x" * 102400}, uuid7(START_MS))
    assert mine.flush(30)
    assert [(p.code, p.field, p.count) for p in problems] == [("too_large", "metrics", 1)] * 3
    assert "more than the limit of 102400" in problems[0].message
    assert problems[0].event is not None
    assert len(problems[0].event["metrics"]["big"]) == 102400
    assert len([r for r in caplog.records if "too_large" in r.getMessage()]) == 1


def test_synchronous_mode(
    request: pytest.FixtureRequest, client: Client, crn: str, make_client: Callable[..., Client]
) -> None:
    if "local" in request.node.name:
        mine = make_client(local=True, sync=True, model_deployment_crn=crn)
    else:
        url = request.getfixturevalue("server_url")
        mine = make_client(url, sync=True, model_deployment_crn=crn)
    uuid = uuid7(START_MS)
    times: Any = {"start_timestamp_ms": START_MS, "end_timestamp_ms": START_MS}
    receipt = mine.track_prediction({"a": 1}, prediction_uuid=uuid, **times)
    assert receipt is not None
    assert (receipt.accepted, receipt.duplicate) == (1, 0)
    assert receipt.batch is not None
    receipt = mine.track_prediction({"a": 1}, prediction_uuid=uuid, **times)
    assert receipt is not None
    assert (receipt.accepted, receipt.duplicate) == (0, 1)
    with pytest.raises(ServerError, match="409 conflict: predictionUuid") as caught:
        mine.track_prediction({"a": 2}, prediction_uuid=uuid, **times)
    assert caught.value.status == 409
    with pytest.raises(ServerError, match="not a UUID"):
        mine.track_delayed_metrics({}, "abc")
    with mine.prediction() as prediction:
        pass
    assert prediction.receipt is not None
    assert prediction.receipt.accepted == 1
