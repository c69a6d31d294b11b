"""Reading from the daemon: data frames, pages, rollups, lineage, answers that break off."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from conftest import CHURN, CLIENTS, Proxy, wait_until

from plumbline import Client, PlumblineError, ServerError, Unreachable
from plumbline.identity import uuid7

START_MS = 1596185125125


def test_churn_comes_back_as_it_was_captured(client: Client, crn: str) -> None:
    """The real capture; `client` is the daemon, then the local store."""
    expected = json.loads((CHURN / "read.json").read_text())["metrics"]
    theirs = expected[0]["modelDeploymentCrn"]

    def events(name: str, kind: str) -> list[dict[str, Any]]:
        lines = (CHURN / name).read_text().splitlines()
        return [{"event": kind, **json.loads(line.replace(theirs, crn))} for line in lines]

    build, model = expected[0]["modelBuildCrn"], expected[0]["modelCrn"]
    client.model_deployed(build, crn, "ada", "deployed", model_crn=model)
    # UUIDs are the server's for ever; other tests may have used these.
    prefix = crn[-8:]
    sent = events("track.ndjson", "track_metrics")
    labels = events("delayed.ndjson", "delayed_metrics")
    for event in sent + labels:
        event["predictionUuid"] = prefix + event["predictionUuid"][8:]
    for batch in (sent, labels, events("aggregate.ndjson", "aggregate_metrics")):
        assert client.post_events(batch).accepted == len(batch)
    for row in expected:
        row["modelDeploymentCrn"] = crn
        if row["predictionUuid"]:
            row["predictionUuid"] = prefix + row["predictionUuid"][8:]
    rows = client.read_metrics(crn)["metrics"]
    assert rows == expected
    assert [list(row) for row in rows] == [list(row) for row in expected]

    frame = client.read_metrics_df(crn)
    normal = pandas.json_normalize(expected)
    pandas.testing.assert_frame_equal(frame, normal, check_like=True)


def test_frame_of_odd_rows(client: Client, crn: str) -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1, "list": [1, {"b": 2}], "empty": {}},
        {"b": {"c": {"d": "x"}}, "a": 1.5},
        {},
        {"b": {"c": None}, "late": True},
    ]
    for n, metrics in enumerate(rows):
        client.track_prediction(
            metrics,
            prediction_uuid=uuid7(START_MS),
            start_timestamp_ms=START_MS + n,
            end_timestamp_ms=START_MS + n,
        )
    frame = client.read_metrics_df(crn)
    normal = pandas.json_normalize(client.read_metrics(crn)["metrics"])
    pandas.testing.assert_frame_equal(frame, normal, check_like=True)
    assert list(frame["startTimeStampMs"]) == [START_MS + n for n in range(4)]


def test_frame_of_nothing(client: Client, crn: str) -> None:
    frame = client.read_metrics_df(crn)
    assert frame.empty
    assert list(frame.columns)[-1] == "predictionUuid"


def fill(client: Client, count: int) -> None:
    for n in range(count):
        client.track_prediction(
            {"n": n, "text": "x" * 100},
            prediction_uuid=uuid7(START_MS + n),
            start_timestamp_ms=START_MS + n,
            end_timestamp_ms=START_MS + n,
        )


def test_pages(server_client: Client, crn: str) -> None:
    fill(server_client, 1000)
    whole = list(server_client.rows(model_deployment_crn=crn))
    assert [row["metrics"]["n"] for row in whole] == list(range(1000))
    # A page shows what was committed before every batch that is still open.
    wait_until(lambda: list(server_client.rows(model_deployment_crn=crn, page_rows=70)) == whole)
    assert len(server_client.read_metrics_df(crn, page_rows=300)) == 1000


def test_rows_are_streamed(server_client: Client, crn: str) -> None:
    fill(server_client, 1000)
    rows = server_client.rows(model_deployment_crn=crn)
    assert next(rows)["metrics"]["n"] == 0
    rows.close()  # type: ignore[attr-defined]
    assert len(server_client.read_metrics(crn)["metrics"]) == 1000


def test_read_while_the_server_is_away(
    proxy: Proxy, crn: str, make_client: Callable[..., Client]
) -> None:
    client = make_client(proxy.url, model_deployment_crn=crn, timeout=0.3)
    with pytest.raises(Unreachable, match="onnection refused"):
        client.read_metrics(crn)


def test_answer_that_breaks_off_is_no_answer(
    server_client: Client, proxy: Proxy, crn: str, make_client: Callable[..., Client]
) -> None:
    server_client.post_events(
        {
            "event": "aggregate_metrics",
            "modelDeploymentCrn": crn,
            "startTimestampMs": START_MS,
            "endTimestampMs": START_MS,
            "metrics": {"text": "x" * 50_000},
        }
        for _ in range(200)
    )
    proxy.up()
    proxy.delay_s = 0.01
    rows = make_client(proxy.url).rows(model_deployment_crn=crn)
    next(rows)
    proxy.down()
    with pytest.raises(Unreachable, match="broke off"):
        list(rows)


def test_errors_have_the_servers_words(server_client: Client) -> None:
    with pytest.raises(ServerError) as caught:
        list(server_client.rows(kind="both"))
    assert (caught.value.status, caught.value.field) == (400, "kind")
    with pytest.raises(ServerError, match="400"):
        server_client.rollups("2m", model_deployment_crn="crn:a")


def test_rollups(server_client: Client, crn: str) -> None:
    fill(server_client, 100)
    answer = server_client.rollups(
        "1h", model_deployment_crn=crn, metric="n", quantile=[0.5], kind="prediction"
    )
    (series,) = answer["series"]
    (window,) = series["windows"]
    assert (window["count"], window["sum"], window["min"], window["max"]) == (100, 4950, 0, 99)
    assert window["quantiles"]["0.5"]["low"] <= 49.5 <= window["quantiles"]["0.5"]["high"] + 1


def test_failed_is_counted_and_the_replica_kept(server_client: Client, crn: str) -> None:
    for fails in (False, True):
        try:
            with server_client.prediction() as prediction:
                prediction.track("n", 1)
                if fails:
                    raise LookupError
        except LookupError:
            pass
    answer = server_client.rollups("1d", model_deployment_crn=crn, metric="n")
    (window,) = answer["series"][0]["windows"]
    assert (window["predictions"], window["failed"]) == (2, 1)


def test_lineage(server_client: Client, crn: str) -> None:
    project, build, model = (crn + part for part in (":p", ":b", ":m"))
    server_client.project_created(project, "Churn", "ada", created_at_ms=START_MS)
    file = "Churn model:\n  hive_table_qualified_names:\n    - default.t" + crn[-6:] + "@cm\n"
    receipt = server_client.model_built(
        project, model, "Churn model", build, 1, "ada", linking_file=file, created_at_ms=START_MS
    )
    assert receipt.accepted == 1
    again = server_client.model_built(
        project, model, "Churn model", build, 1, "ada", linking_file=file, created_at_ms=START_MS
    )
    assert (again.accepted, again.duplicate) == (0, 1)
    server_client.model_deployed(build, crn, "ada", "deployed", cpu_millicores=500)
    found = server_client.lineage("ml_model_deployment", crn + "@cm", direction="INPUT")
    types = {entity["typeName"] for entity in found["guidEntityMap"].values()}
    assert {"hive_table", "ml_model_build", "ml_model_deployment"} <= types
    with pytest.raises(ServerError, match="409 conflict"):
        server_client.model_built(project, model, "Another", build, 1, "ada")
    with pytest.raises(ServerError) as caught:
        server_client.lineage("ml_model_deployment", "nobody@cm")
    assert caught.value.status == 404
    with pytest.raises(PlumblineError, match="400"):
        server_client.model_deployed(build, crn, "ada", "nonsense")


@pytest.mark.parametrize("name", ["python", "python-compat"])
def test_wheel_has_everything(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(CLIENTS / name, source, ignore=shutil.ignore_patterns("tests", "*cache*"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--no-index", "-w", str(tmp_path), str(source)], check=True, timeout=120
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(CLIENTS / name / "src").as_posix()
        for pattern in ("*.py", "py.typed")
        for path in (CLIENTS / name / "src").rglob(pattern)
    }
    assert wanted <= names
    assert "cml/__init__.py" not in names
