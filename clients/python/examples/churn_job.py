"""A recurring job of a churn model: accuracy every 100 predictions, and the ROC AUC from a read.

    python churn_job.py FOLDER

FOLDER holds a capture (track.ndjson, delayed.ndjson) as tests/data/churn does; it is tracked first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import plumbline

EVERY = 100  # predictions for one accuracy


def replay(client: plumbline.Client, folder: Path) -> str:
    """Tracks what was captured; returns the CRN of its deployment."""
    crn = ""
    for line in (folder / "track.ndjson").read_text().splitlines():
        event = json.loads(line)
        crn = event["modelDeploymentCrn"]
        client.track_prediction(
            event["metrics"],
            prediction_uuid=event["predictionUuid"],
            start_timestamp_ms=event["startTimestampMs"],
            end_timestamp_ms=event["endTimestampMs"],
            model_deployment_crn=crn,
        )
    for line in (folder / "delayed.ndjson").read_text().splitlines():
        event = json.loads(line)
        client.track_delayed_metrics(event["metrics"], event["predictionUuid"])
    return crn


def accuracy(rows: list[dict[str, Any]]) -> float:
    """Returns the share of rows whose probability is on the side of its label."""
    found = [row["metrics"] for row in rows]
    return sum(bool((m["probability"] >= 0.5) == m["final_label"]) for m in found) / len(found)


def roc_auc(scored: Iterable[tuple[float, bool]]) -> float:
    """Returns the area under the ROC curve: how often a positive outranks a negative.

    Exact, and ties count half (the Mann-Whitney statistic by ranks).
    """
    ordered = sorted(scored)
    positive = sum(label for _, label in ordered)
    negative = len(ordered) - positive
    twice_rank_sum = 0
    begin = 0
    while begin < len(ordered):
        end = begin
        while end < len(ordered) and ordered[end][0] == ordered[begin][0]:
            end += 1
        # Ranks begin+1 to end are shared: each counts as their mean.
        twice_rank_sum += (begin + 1 + end) * sum(label for _, label in ordered[begin:end])
        begin = end
    return (twice_rank_sum - positive * (positive + 1)) / (2 * positive * negative)


def main() -> None:
    """Replays, reads, computes, and tracks what it found."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    client = plumbline.default_client()
    crn = replay(client, Path(sys.argv[1]))

    rows = [
        row
        for row in client.rows(model_deployment_crn=crn, kind="prediction")
        if "final_label" in row["metrics"]
    ]
    for begin in range(0, len(rows), EVERY):
        part = rows[begin : begin + EVERY]
        starts = [row["startTimeStampMs"] for row in part]
        client.track_aggregate_metrics({"accuracy": accuracy(part)}, min(starts), max(starts), crn)

    starts = [row["startTimeStampMs"] for row in rows]
    auc = roc_auc((r["metrics"]["probability"], r["metrics"]["final_label"]) for r in rows)
    client.track_aggregate_metrics({"roc_auc": auc}, min(starts), max(starts), crn)

    found = [row["metrics"] for row in client.rows(model_deployment_crn=crn, kind="aggregate")]
    accuracies = [metrics["accuracy"] for metrics in found if "accuracy" in metrics]
    print(json.dumps({"predictions": len(rows), "accuracies": accuracies, "roc_auc": auc}))


if __name__ == "__main__":
    main()
