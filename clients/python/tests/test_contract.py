"""What a client does with a server, and does the same with the local store."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from decimal import Decimal
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
    found = list(client.rows(prediction_uuid=uuid))
    assert found == list(client.rows(prediction_uuid=[str(uuid), UUID(uuid7(0))])) != []
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


def built(**members: Any) -> dict[str, Any]:
    base = {"event": "model_built", "projectCrn": "p", "modelCrn": "m", "modelName": "n"}
    return {**base, "modelBuildCrn": "b", "buildNumber": 1, "userName": "u", **members}


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth > 1 else []


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
    "nested deeply": (
        event("delayed_metrics", metrics={"x": 1, "a.b": nested(31)}),
        "invalid_value",
        "metrics.a\\.b" + "[0]" * 30,
        "nested deeper than 32 levels; flatten it or send it as text",
    ),
    "beyond a double": (
        event("delayed_metrics", metrics={"a": [1, Decimal("1E+400")], "b": Decimal("1E+401")}),
        "invalid_value",
        "metrics.a[1]",
        'too large for a double: "1E+400"; send null or text',
    ),
    "tiny": (
        event("delayed_metrics", metrics={"a": Decimal("1E-16000"), "b": Decimal("1E-16001")}),
        "invalid_value",
        "metrics.b",
        'an exponent beyond 16000: "1E-16001"; send 0 or text',
    ),
    "beyond a double, outside of metrics": (
        event("track_metrics", "c", failed=Decimal("1E+400")),
        "invalid_value",
        "failed",
        "too large for a double",
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
        built(buildNumber="x"),
        "invalid_field",
        "buildNumber",
        "must be a whole number",
    ),
    "nothing that says what it is": (
        {"metrics": {}},
        "missing_field",
        "event",
        'every event needs it, for example "track_metrics"',
    ),
    "needed and null": (
        event("track_metrics", "c", metrics=None),
        "invalid_field",
        "metrics",
        "must not be null",
    ),
    "UUID with a line end": (
        event("delayed_metrics", predictionUuid="12f34405-38fa-42de-9ed4-68dbd82d36f6\n"),
        "invalid_field",
        "predictionUuid",
        "not a UUID: ",
    ),
    "time with a fraction": (
        event("track_metrics", "c", startTimestampMs=1.5),
        "invalid_field",
        "startTimestampMs",
        "must be a whole number of milliseconds since 1970, not 1.5",
    ),
    "time in two spellings": (
        event("track_metrics", "c", startTimeStampMs=START_MS),
        "invalid_field",
        "startTimeStampMs",
        "is there twice, in two spellings; send one",
    ),
    "time of a status": (
        deployed(statusAtMs="now"),
        "invalid_field",
        "statusAtMs",
        "must be a whole number of milliseconds since 1970, not text",
    ),
    "less than nothing": (
        deployed(cpuMillicores=-1),
        "invalid_field",
        "cpuMillicores",
        "must be 0 to 2147483647, not -1",
    ),
    "metadata in metadata": (
        deployed(metadata={"a": {}}),
        "invalid_field",
        "metadata.a",
        "must be text, a number or a boolean, not an object",
    ),
    "long integer in lineage": (
        deployed(environment={"a": 1 << 64}),
        "invalid_value",
        None,
        "holds an integer beyond 64 bits; send it as text",
    ),
    "input without a name": (
        built(inputs=[{"typeName": "hive_table"}]),
        "missing_field",
        "inputs[0].qualifiedName",
        "an input needs it",
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
    assert receipt.rejected == [
        {
            "index": 0,
            "code": "invalid_value",
            "message": "a number of 65 characters, at most 64 can be kept; "
            "round it or send it as text",
            "field": "metrics.a",
        }
    ]


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


SAME = [
    (1, 1.0, True),
    (10**22, 1e22, True),
    (0, -0.0, True),
    ({"a": [1], "b": 2}, {"b": 2.0, "a": [1.0]}, True),
    (1, True, False),
    (0, False, False),
    (1, "1", False),
    (2**53 + 1, float(2**53), False),
    ([1, 2], [2, 1], False),
    (None, 0, False),
]


@pytest.mark.parametrize(("one", "other", "is_same"), SAME)
def test_same_as_json(client: Client, crn: str, one: Any, other: Any, is_same: bool) -> None:
    uuid, event_id = uuid7(START_MS), uuid7(START_MS)
    events = (
        event("track_metrics", crn, predictionUuid=uuid),
        event("delayed_metrics", predictionUuid=uuid, eventId=event_id),
        event("aggregate_metrics", crn, eventId=event_id),
    )
    for base in events:
        assert client.post_events([{**base, "metrics": {"a": one}}]).accepted == 1
        receipt = client.post_events([{**base, "metrics": {"a": other}}])
        assert (receipt.duplicate, receipt.rejected_count) == (is_same, not is_same)


def test_replica_and_failure_are_content_names_are_not(client: Client, crn: str) -> None:
    base = event("track_metrics", crn, predictionUuid=uuid7(START_MS), replica=None)
    assert client.post_events([base]).accepted == 1
    assert client.post_events([{**base, "failed": False, "modelCrn": "m" + crn}]).duplicate == 1
    for more in ({"replica": "a"}, {"failed": True}, {"endTimestampMs": START_MS + 1}):
        assert client.post_events([{**base, **more}]).rejected[0]["code"] == "conflict"


def test_what_is_no_member_of_an_aggregate_is_no_content(client: Client, crn: str) -> None:
    base = event("aggregate_metrics", crn, eventId=uuid7(START_MS))
    assert client.post_events([base]).accepted == 1
    for more in ({"failed": True}, {"unheard_of": 1}):
        receipt = client.post_events([{**base, **more}])
        assert receipt.duplicate == 1
        assert receipt.warnings[0]["code"] == "unknown_field"


def test_null_is_absent(client: Client, crn: str) -> None:
    label = event("delayed_metrics", predictionUuid=uuid7(START_MS), eventId=None)
    aggregate = event("aggregate_metrics", crn, eventId=None, replica=None, metrics={"a": 1})
    prediction = event("track_metrics", crn, failed=None, modelCrn=None, modelBuildCrn=None)
    prediction["predictionUuid"] = uuid7(START_MS)
    for _ in range(2):
        assert client.post_events([label, aggregate]).accepted == 2
    assert client.post_events([prediction]).accepted == 1
    assert client.post_events([deployed(modelDeploymentCrn=crn, modelCrn=None)]).accepted == 1
    assert metrics_of(client) == [{"a": 1}, {"a": 1}, {}]


def test_later_lineage_event_adds_members(client: Client, crn: str) -> None:
    first = built(modelBuildCrn="b" + crn, metadata={"a": 1}, imageTag=None)
    assert client.post_events([first]).accepted == 1
    more = {**first, "metadata": {"a": 1.0}, "imageTag": "7", "defaultGpus": 1}
    assert client.post_events([more]).accepted == 1
    assert client.post_events([first, more]).duplicate == 2
    for member, other in (("imageTag", "8"), ("metadata", {"a": 2}), ("buildNumber", 2)):
        receipt = client.post_events([{**more, member: other}])
        (note,) = receipt.rejected
        assert (note["code"], note["field"]) == ("conflict", member)
        message = f'an event with this modelBuildCrn is stored with another "{member}"'
        assert note["message"] == message
    client.project_created("p" + crn, "one", "u")
    with pytest.raises(ServerError, match="409 conflict: projectName"):
        client.project_created("p" + crn, "another", "u")
    status = deployed(modelDeploymentCrn=crn, modelBuildCrn="b" + crn, statusAtMs=START_MS)
    assert client.post_events([status, {**status, "environment": "prod"}]).accepted == 2
    assert client.deployment(crn)["environment"] == "prod"


def test_namespace_comes_with_its_file(client: Client, crn: str) -> None:
    first = built(modelBuildCrn="b" + crn, linkingFile="n:\n  hive_table_qualified_names: [a.b]\n")
    assert client.post_events([first]).accepted == 1
    (note,) = client.post_events([{**first, "namespace": "cm"}]).rejected
    assert (note["code"], note["field"]) == ("conflict", "namespace")


def test_warnings(client: Client, crn: str) -> None:
    receipt = client.post_events(
        [
            event("aggregate_metrics", crn, predictionUuid="?"),
            deployed(modelDeploymentCrn=crn, modelBuildCrn="b" + crn, colour="red"),
        ]
    )
    assert receipt.accepted == 2
    assert [(note["index"], note["code"], note["field"]) for note in receipt.warnings] == [
        (0, "unknown_field", "predictionUuid"),
        (1, "unknown_field", "colour"),
        (1, "cpu_assumed", "cpuMillicores"),
    ]


REFUSED_READS = {
    "end before start": (
        {"start_timestamp_ms": 2, "end_timestamp_ms": 1},
        "end_timestamp_ms",
        "the end (1) is before the start (2)",
    ),
    "kind": ({"kind": "label"}, "kind", '"kind" must be prediction or aggregate: "label"'),
    "UUID": (
        {"prediction_uuid": "abc"},
        "prediction_uuid",
        '"prediction_uuid" is not a UUID: "abc"',
    ),
    "empty CRN": (
        {"model_crn": ""},
        "model_crn",
        '"model_crn" must have from 1 to 1024 bytes: it has 0',
    ),
    "long CRN": (
        {"model_build_crn": ["b", "c" * 1025]},
        "model_build_crn",
        '"model_build_crn" must have from 1 to 1024 bytes: it has 1025',
    ),
    "time with a fraction": (
        {"start_timestamp_ms": 1.5},
        "start_timestamp_ms",
        '"start_timestamp_ms" must be a whole number: "1.5"',
    ),
    "time beyond 64 bits": (
        {"end_timestamp_ms": 1 << 63},
        "end_timestamp_ms",
        '"end_timestamp_ms" must be from -9223372036854775808 to 9223372036854775807: '
        "9223372036854775808",
    ),
    "page of nothing": (
        {"page_rows": 0},
        "limit",
        '"limit" must be from 1 to 1000000000: 0',
    ),
}


@pytest.mark.parametrize("name", REFUSED_READS)
def test_reads_that_are_refused(client: Client, crn: str, name: str) -> None:
    arguments, field, message = REFUSED_READS[name]
    track(client, {"a": 1})
    with pytest.raises(ServerError) as caught:
        list(client.rows(**arguments))  # type: ignore[arg-type]
    error = caught.value
    assert (error.status, error.code, error.field) == (400, "invalid_parameter", field)
    assert error.message == message


def test_deployment_has_one_build(client: Client, crn: str) -> None:
    client.model_deployed("crn:b" + crn, crn, "ada", "deploying")
    client.model_deployed("crn:b" + crn, crn, "ada", "deployed")
    with pytest.raises(ServerError) as caught:
        client.model_deployed("crn:other" + crn, crn, "ada", "stopped")
    assert (caught.value.status, caught.value.code) == (409, "conflict")
    assert client.deployment(crn)["status"] == "deployed"


def test_model_deployed_knows_better_than_predictions(client: Client, crn: str) -> None:
    names = ("modelBuildCrn", "modelCrn", "projectCrn", "status")

    def known() -> list[Any]:
        client.flush(60)
        return [client.deployment(crn)[name] for name in names]

    track(client, {}, model_build_crn="b1" + crn, model_crn="m1" + crn)
    assert known() == ["b1" + crn, "m1" + crn, "", "unknown"]
    client.model_deployed("b2" + crn, crn, "ada", "deployed")
    track(client, {}, model_build_crn="b3" + crn, model_crn="m3" + crn)
    assert known() == ["b2" + crn, "m1" + crn, "", "deployed"]
    client.model_built("p4" + crn, "m4" + crn, "n", "b2" + crn, 1, "ada")
    assert known() == ["b2" + crn, "m4" + crn, "p4" + crn, "deployed"]
    client.model_deployed("b2" + crn, crn, "ada", "stopped", model_crn="m5" + crn)
    assert known() == ["b2" + crn, "m5" + crn, "p4" + crn, "stopped"]


def test_status_is_that_of_the_greatest_time(client: Client, crn: str) -> None:
    for status, at_ms in (("deploying", 1), ("stopped", 5), ("deployed", 3), ("stopping", 5)):
        client.model_deployed(
            "b" + crn, crn, "ada", status, status_at_ms=START_MS + at_ms, environment=status
        )
    found = client.deployment(crn)
    assert (found["status"], found["environment"]) == ("stopping", "stopping")


@pytest.mark.parametrize(
    ("environment", "text"),
    [("prod", "prod"), ({"b": [True, None], "a": "é"}, '{"a":"é","b":[true,null]}')],
)
def test_environment_of_a_deployment(client: Client, crn: str, environment: Any, text: str) -> None:
    client.model_deployed("b" + crn, crn, "ada", "deployed", environment=environment)
    client.model_deployed("b" + crn, crn, "ada", "stopped")
    assert client.deployment(crn)["environment"] == text


TRAINED: dict[str, tuple[dict[str, Any], str]] = {
    "on nothing": ({}, "unknown"),
    "on no inputs": ({"inputs": []}, "unknown"),
    "on a table": ({"inputs": [{"typeName": "hive_table", "qualifiedName": "a.b@cm"}]}, "known"),
    "by the file": ({"linking_file": "n:\n  hive_table_qualified_names: [a.b]\n"}, "known"),
    "the file has another": (
        {"linking_file": "m:\n  hive_table_qualified_names: [a.b]\n"},
        "unknown",
    ),
}


@pytest.mark.parametrize("name", TRAINED)
def test_training_data_of_a_deployment(client: Client, crn: str, name: str) -> None:
    members, known = TRAINED[name]
    client.model_deployed("b" + crn, crn, "ada", "deployed")
    assert client.deployment(crn)["trainingData"] == "unknown"
    client.model_built("p", "m", "n", "b" + crn, 1, "ada", **members)
    found = client.deployment(crn)
    assert (found["trainingData"], found["modelName"]) == (known, "n")


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
    for metrics in ([1], "abc", None):
        name = type(metrics).__name__
        with pytest.raises(
            plumbline.ValueNotAllowed, match=f"metrics: must be a mapping, not {name}"
        ):
            client.track_delayed_metrics(metrics, uuid7(1))  # type: ignore[arg-type]


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
