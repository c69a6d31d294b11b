"""A drift job: how far this week's predictions moved from last week's.

    PLUMBLINE_URL=... PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn:drift python drift_job.py

Tracks two weeks of predictions of a model whose input drifts, reads both windows, and tracks the
population stability index (PSI) as an aggregate of the second. Below 0.1 is usual, above 0.25 is
a reason to look.
"""

from __future__ import annotations

import math
import random
import time
from bisect import bisect_right

import plumbline

WEEK_MS = 7 * 86_400_000
BINS = 10
FLOOR = 1e-4  # share of an empty bin, so that logarithms exist


def week_of_predictions(client: plumbline.Client, from_ms: int, mean: float) -> None:
    """Tracks 2,000 predictions, evenly over a week."""
    dice = random.Random(f"{mean}")
    for number in range(2000):
        start_ms = from_ms + number * WEEK_MS // 2000
        client.track_prediction(
            {"score": dice.gauss(mean, 1.0)},
            prediction_uuid=plumbline.uuid7(start_ms),
            start_timestamp_ms=start_ms,
            end_timestamp_ms=start_ms + 5,
        )


def scores(client: plumbline.Client, from_ms: int) -> list[float]:
    """Returns the scores of the week from then on."""
    rows = client.rows(
        model_deployment_crn=client.model_deployment_crn,
        start_timestamp_ms=from_ms,
        end_timestamp_ms=from_ms + WEEK_MS - 1,
        kind="prediction",
        key="score",
    )
    return [row["metrics"]["score"] for row in rows if "score" in row["metrics"]]


def stability_index(expected: list[float], actual: list[float]) -> float:
    """Returns the PSI of two samples, over the deciles of the first."""
    ordered = sorted(expected)
    edges = [ordered[len(ordered) * n // BINS] for n in range(1, BINS)]

    def shares(sample: list[float]) -> list[float]:
        counts = [0] * BINS
        for value in sample:
            counts[bisect_right(edges, value)] += 1
        return [max(count / len(sample), FLOOR) for count in counts]

    pairs = zip(shares(expected), shares(actual))
    return math.fsum((a - e) * math.log(a / e) for e, a in pairs)


def main() -> None:
    """Tracks, reads, compares."""
    client = plumbline.default_client()
    this_week_ms = time.time_ns() // 1_000_000 - WEEK_MS
    last_week_ms = this_week_ms - WEEK_MS
    week_of_predictions(client, last_week_ms, 0.0)
    week_of_predictions(client, this_week_ms, 0.4)

    psi = stability_index(scores(client, last_week_ms), scores(client, this_week_ms))
    client.track_aggregate_metrics({"score_psi": psi}, this_week_ms, this_week_ms + WEEK_MS - 1)

    rows = client.rows(model_deployment_crn=client.model_deployment_crn, kind="aggregate")
    found = [row["metrics"]["score_psi"] for row in rows if "score_psi" in row["metrics"]]
    print(f"PSI {found[-1]:.3f}")  # the newest is the last


if __name__ == "__main__":
    main()
