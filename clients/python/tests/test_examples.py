"""The examples, run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from conftest import CHURN, CLIENTS, SOURCES

from plumbline import Client


@pytest.fixture(params=["server", "local"])
def environ(request: pytest.FixtureRequest, crn: str) -> dict[str, str]:
    environ = {"PLUMBLINE_MODEL_DEPLOYMENT_CRN": crn}
    if request.param == "server":
        environ["PLUMBLINE_URL"] = request.getfixturevalue("server_url")
    return environ


def run(name: str, *arguments: str, **environ: str) -> str:
    process = subprocess.run(
        [sys.executable, str(CLIENTS / "python/examples" / name), *arguments],
        env={**os.environ, "PYTHONPATH": SOURCES, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    return process.stdout


def test_iris(environ: dict[str, str]) -> None:
    assert run("iris.py", **environ).startswith("21 predictions, mean absolute error 0.1")


def test_churn_job_finds_the_auc_of_the_capture(environ: dict[str, str]) -> None:
    expected = json.loads((CHURN / "expected.json").read_text())
    found = json.loads(run("churn_job.py", str(CHURN), **environ))
    assert found["predictions"] == expected["predictions"]
    assert found["roc_auc"] == pytest.approx(expected["auc_probability_vs_final_label"], abs=1e-12)
    captured = (CHURN / "aggregate.ndjson").read_text().splitlines()
    assert found["accuracies"][:9] == [json.loads(line)["metrics"]["accuracy"] for line in captured]


def test_drift_job(environ: dict[str, str]) -> None:
    index = float(run("drift_job.py", **environ).split()[1])
    assert 0.1 < index < 0.25  # the mean moved by 0.4 deviations: 0.16, give or take


def test_in_a_deployment_that_has_other_rows(server_url: str, crn: str) -> None:
    environ = {"PLUMBLINE_URL": server_url, "PLUMBLINE_MODEL_DEPLOYMENT_CRN": crn}
    for _ in range(2):
        assert run("iris.py", **environ).split()[0] in ("21", "42")
        assert 0.1 < float(run("drift_job.py", **environ).split()[1]) < 0.25


@pytest.mark.parametrize("name", ["churn_job.py", "lineage_push.py"])
def test_without_arguments_it_says_how_to_call_it(name: str) -> None:
    command = [sys.executable, str(CLIENTS / "python/examples" / name)]
    environ = {**os.environ, "PYTHONPATH": SOURCES}
    process = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (process.returncode, f"python {name} " in process.stderr) == (1, True)
    assert "Traceback" not in process.stderr


def test_lineage_push(server_client: Client, server_url: str, crn: str) -> None:
    tables = ["default.customers@cm", "default.telco_churn@cm"]
    for _ in range(2):
        assert sorted(run("lineage_push.py", crn, PLUMBLINE_URL=server_url).split()) == tables
    found: Any = server_client.deployment(crn + "/deployment-1")
    assert found["modelBuildCrn"] == crn + "/build-1"
