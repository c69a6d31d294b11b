"""What the environment says: where to post, which deployment."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Scripted

import plumbline
from plumbline import Client, PlumblineError, Problem, identity
from plumbline.identity import uuid7

MakeClient = Callable[..., Client]

URLS = {
    "nothing": ({}, None),
    "ours": ({"PLUMBLINE_URL": "http://a:1/", "CDSW_API_URL": "https://b"}, "http://a:1"),
    "beside": (
        {"CDSW_API_URL": "https://ml.example.com/api/v1"},
        "https://monitoring.ml.example.com",
    ),
    "beside, with a port": ({"CDSW_API_URL": "http://ml:8080/api"}, "http://monitoring.ml:8080"),
    "empty": ({"PLUMBLINE_URL": "", "CDSW_API_URL": ""}, None),
    "from a file": ({"PLUMBLINE_URL": "http://a:1\n"}, "http://a:1"),
}


@pytest.mark.parametrize("name", URLS)
def test_server_url(name: str) -> None:
    environ, url = URLS[name]
    assert identity.server_url(environ) == url


IDS = {
    "outside": (["KUBERNETES_SERVICE_HOST", "PATH", "A_1_SERVICE_HOST"], []),
    "a replica": (["KUBERNETES_SERVICE_HOST", "MODEL_1_42_SERVICE_HOST"], [42]),
    "a longer name": (["MY_MODEL_2_3_43_SERVICE_HOST"], [43]),
    "the same twice": (["A_1_42_SERVICE_HOST", "B_2_42_SERVICE_HOST"], [42]),
    "two": (["A_1_43_SERVICE_HOST", "B_2_42_SERVICE_HOST"], [42, 43]),
}


@pytest.mark.parametrize("name", IDS)
def test_deployment_ids(name: str) -> None:
    names, ids = IDS[name]
    assert identity.deployment_ids(dict.fromkeys(names, "10.0.0.1")) == ids


def test_chance_is_asked_for_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the system is asked, a prediction may have to wait for other threads."""
    asked: list[int] = []
    urandom = os.urandom

    def ask(size: int) -> bytes:
        asked.append(size)
        return urandom(size)

    monkeypatch.setattr(os, "urandom", ask)
    made = {uuid7(0) for _ in range(1000)}
    assert len(made) == 1000
    assert 3 <= len(asked) <= 4


def test_uuids_of_threads_and_of_a_fork_nobody_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(uuid7(0) for _ in range(2000)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000

    before = list(identity._chance._texts)
    assert before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    other = uuid7(0)
    assert not set(before) & set(identity._chance._texts)
    monkeypatch.undo()
    assert other not in {uuid7(0) for _ in range(1000)}


def test_uuid7() -> None:
    made = [uuid7(1596185125125) for _ in range(1000)]
    assert len(set(made)) == 1000
    for text in made:
        assert int(text.replace("-", "")[:12], 16) == 1596185125125
        assert text[14] == "7"
        assert text[19] in "89ab"


def test_crn_of_the_environment(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_URL", "http://192.0.2.1:1")
    monkeypatch.setenv("PLUMBLINE_MODEL_DEPLOYMENT_CRN", "crn:env")
    assert make_client().model_deployment_crn == "crn:env"
    assert make_client(model_deployment_crn="crn:mine").model_deployment_crn == "crn:mine"


def test_without_a_server_everything_stays_in_the_process(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    for _ in range(3):
        with client.prediction() as prediction:
            prediction.track("a", 1)
    assert len(client.read_metrics(identity.DEV_DEPLOYMENT_CRN)["metrics"]) == 3
    assert caplog.text.count("metrics stay in this process") == 1
    with pytest.raises(PlumblineError, match="needs a server"):
        client.rollups("1m", model_deployment_crn="crn:a")


def test_no_deployment(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    problems: list[Problem] = []
    monkeypatch.setenv("A_1_42_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("B_1_43_SERVICE_HOST", "10.0.0.1")
    client = make_client("http://192.0.2.1:1", on_error=problems.append)
    assert "names several deployments (42, 43)" in caplog.text

    @plumbline.track_predictions(client=client, envelope=True)
    def predict() -> int:
        return 1

    answer = predict()
    assert answer["model_deployment_crn"] is None
    assert [problem.code for problem in problems] == ["no_deployment"]
    assert client.stats().dropped == 1
    with pytest.raises(PlumblineError, match="which deployment is this about"):
        client.track_aggregate_metrics({}, 1, 2)


def test_url_that_is_none(make_client: MakeClient) -> None:
    with pytest.raises(PlumblineError, match="not the URL of a server"):
        make_client("ftp://a")


def test_settings_from_files_end_with_a_line(
    scripted: Scripted, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_URL", scripted.url + "\n")
    monkeypatch.setenv("PLUMBLINE_API_KEY", "secret\n")
    monkeypatch.setenv("PLUMBLINE_MODEL_DEPLOYMENT_CRN", "crn:a\n")
    for client in (make_client(), make_client(scripted.url + "\n", api_key="secret\n")):
        client.track_aggregate_metrics({}, 1596185125125, 1596185125125)
        assert client.flush(60)
    assert [headers["Authorization"] for _, headers, _ in scripted.requests] == [
        "Bearer secret"
    ] * 2
    assert {event["modelDeploymentCrn"] for event in scripted.events} == {"crn:a"}


def test_key_that_is_none(
    scripted: Scripted,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for key in ("sec\nret", "secr\u20act"):
        with pytest.raises(PlumblineError, match="not an API key") as raised:
            make_client(scripted.url, api_key=key)
        assert "sec" not in str(raised.value)
        monkeypatch.setenv("PLUMBLINE_API_KEY", key)
        client = make_client(scripted.url, model_deployment_crn="crn:a")
        client.track_aggregate_metrics({}, 1596185125125, 1596185125125)
        assert client.flush(60)  # the server asks for a key where it wants one
    assert caplog.text.count("PLUMBLINE_API_KEY: not an API key") == 2
    assert "sec" not in caplog.text


def test_local_store_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from plumbline.local import Filters, LocalStore

    store = LocalStore(rows_max=10)
    client = Client(local=True)
    client._store = store
    for n in range(25):
        uuid = uuid7(1596185125125)
        client.track_delayed_metrics({"l": n}, uuid7(1596185125125))
        client.track_prediction(
            {"n": n},
            prediction_uuid=uuid,
            start_timestamp_ms=1596185125125,
            end_timestamp_ms=1596185125125,
        )
    assert [row["metrics"]["n"] for row in store.rows(Filters())] == list(range(15, 25))
    assert caplog.text.count("keeps 10 rows") == 1
    assert max(len(store._waiting), len(store._first)) <= 10
    assert len(store._known) <= 20


def test_local_store_is_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    import tracemalloc

    from plumbline.local import Filters, LocalStore

    bytes_max = 1 << 20
    store = LocalStore(bytes_max=bytes_max)
    start_ms = 1596185125125
    times = {"startTimestampMs": start_ms, "endTimestampMs": start_ms}

    def post(**event: Any) -> str:
        receipt = store.post([json.dumps(event).encode()])
        return "" if receipt.accepted else str(receipt.rejected[0]["code"])

    def post_all(size: int, count: int) -> None:
        for n in range(count):
            metrics = {"n": n, "text": "\u20ac" * (size // 3)}
            crn = {"modelDeploymentCrn": "crn:a"}
            uuid = uuid7(start_ms)
            label = {"event": "delayed_metrics", "eventId": uuid7(n), "metrics": metrics}
            assert not post(event="track_metrics", predictionUuid=uuid, metrics={}, **crn, **times)
            assert not post(**label, predictionUuid=uuid)
            assert not post(**label, predictionUuid=uuid7(start_ms))  # it waits
            aggregate = {"event": "aggregate_metrics", "eventId": uuid7(n), "metrics": metrics}
            assert not post(**aggregate, **crn, **times)
            assert store._row_bytes + store._fact_bytes <= bytes_max

    tracemalloc.start()
    try:
        post_all(100, 1500)
        post_all(60_000, 40)
        store.post([])
        assert tracemalloc.get_traced_memory()[0] < 2 * bytes_max
    finally:
        tracemalloc.stop()
    assert caplog.text.count(f"and {bytes_max} bytes; the oldest go") == 1
    found = [row["metrics"]["n"] for row in store.rows(Filters(kind="aggregate"))]
    assert found == list(range(40 - len(found), 40))  # the newest, without a gap
    assert len(found) > 3

    def project(n: int) -> str:
        name = "x" * 1000
        crn = f"crn:{n}"
        return post(event="project_created", projectCrn=crn, projectName=name, userName="u")

    codes = [project(n) for n in range(1000)]
    kept = codes.index("too_many_deployments")
    assert set(codes[kept:]) == {"too_many_deployments"}
    assert 100 < kept < 1000
    assert list(store.rows(Filters()))  # there is room for them all the same


def test_what_went_from_the_local_store_is_unknown_to_it() -> None:
    from plumbline.local import Filters, LocalStore

    store = LocalStore(rows_max=1)
    uuid = uuid7(1596185125125)
    times = {"startTimestampMs": 1596185125125, "endTimestampMs": 1596185125125}
    common: Any = {"predictionUuid": uuid, "metrics": {"n": 1}}
    prediction = {"event": "track_metrics", "modelDeploymentCrn": "crn:a", **common, **times}
    other = {**prediction, "predictionUuid": uuid7(1596185125125)}
    label = {"event": "delayed_metrics", "eventId": uuid7(1), **common}
    texts = [json.dumps(event).encode() for event in (prediction, label, other)]
    assert store.post([*texts[:2], *texts]).duplicate == 2
    assert (len(store._known), store._row_bytes) == (1, next(iter(store._rows.values())).size)
    assert store.post(texts[:2]).accepted == 2
    assert [row["predictionUuid"] for row in store.rows(Filters())] == [uuid]
    assert store._row_bytes == next(iter(store._rows.values())).size


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("PLUMBLINE_URL", "http://[bad"),
        ("PLUMBLINE_URL", "http://host:port"),
        ("PLUMBLINE_URL", "http://host:99999"),
        ("CDSW_API_URL", "http://[bad"),
        ("CDSW_API_URL", "http://host:port/api"),
    ],
)
def test_url_of_the_environment_that_is_none(
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    name: str,
    url: str,
) -> None:
    monkeypatch.setenv(name, url)
    client = make_client(model_deployment_crn="crn:a", spill_dir=str(tmp_path))
    wrong = f"{name}: not the URL of a server: '{url}'"
    assert caplog.text.count(wrong) == 1
    with client.prediction():
        pass
    assert client.stats().spilled == 1
    with pytest.raises(PlumblineError, match="this needs a server: " + re.escape(wrong)):
        client.read_metrics()


def test_replica_without_a_url_spills_in_synchronous_mode_too(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_1_42_SERVICE_HOST", "10.0.0.1")
    client = make_client(sync=True, spill_dir=str(tmp_path))
    with client.prediction() as prediction:
        pass
    assert prediction.receipt is None
    assert client.stats().spilled == 1


def test_dev_is_always_the_same_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    from plumbline import tracking

    monkeypatch.setattr(tracking, "defaults", tracking.Defaults())
    monkeypatch.setenv("PLUMBLINE_MODEL_DEPLOYMENT_CRN", "crn:env")
    plumbline.track_aggregate_metrics({"a": 1}, 1596185125125, 1596185125125, dev=True)
    (row,) = plumbline.read_metrics(dev=True)["metrics"]
    assert row["modelDeploymentCrn"] == identity.DEV_DEPLOYMENT_CRN
    monkeypatch.delenv("PLUMBLINE_MODEL_DEPLOYMENT_CRN")
    monkeypatch.setenv("A_1_42_SERVICE_HOST", "10.0.0.1")
    assert Client(local=True).model_deployment_crn == identity.DEV_DEPLOYMENT_CRN


def test_configure_replaces_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    from plumbline import tracking

    monkeypatch.setattr(tracking, "defaults", tracking.Defaults())
    first = plumbline.default_client()
    assert plumbline.default_client() is first
    second = plumbline.configure(local=True, nan="null")
    assert plumbline.default_client() is second
    assert plumbline.default_client(dev=True) is not second

    @plumbline.track_predictions
    def predict() -> None:
        plumbline.track_metric("a", float("nan"))

    predict()
    plumbline.track_aggregate_metrics({"b": 1}, 1596185125125, 1596185125125)
    rows = plumbline.read_metrics(identity.DEV_DEPLOYMENT_CRN)["metrics"]
    assert [row["metrics"] for row in rows] == [{"a": None}, {"b": 1}]
    plumbline.track_delayed_metrics({"l": 2}, rows[0]["predictionUuid"])
    assert len(plumbline.read_metrics_df(identity.DEV_DEPLOYMENT_CRN)) == 2
    assert plumbline.read_metrics(dev=True) == {"metrics": []}
