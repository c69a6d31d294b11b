"""The iris walk-through: track predictions, label them, track an aggregate, read all of it back.

    PLUMBLINE_URL=http://127.0.0.1:8190 PLUMBLINE_MODEL_DEPLOYMENT_CRN=crn:iris python iris.py

Without PLUMBLINE_URL everything stays in this process, with the same answers.
"""

from __future__ import annotations

import plumbline

# Petal length and width in cm, of the first flowers of each kind in Fisher's iris data.
FLOWERS = [
    (1.4, 0.2), (1.4, 0.2), (1.3, 0.2), (1.5, 0.2), (1.4, 0.2), (1.7, 0.4), (1.4, 0.3),
    (4.7, 1.4), (4.5, 1.5), (4.9, 1.5), (4.0, 1.3), (4.6, 1.5), (4.5, 1.3), (4.7, 1.6),
    (6.0, 2.5), (5.1, 1.9), (5.9, 2.1), (5.6, 1.8), (5.8, 2.2), (6.6, 2.1), (4.5, 1.7),
]  # fmt: skip


def fit(flowers: list[tuple[float, float]]) -> tuple[float, float]:
    """Returns slope and intercept of the width by the length, by least squares."""
    count = len(flowers)
    mean_x = sum(x for x, _ in flowers) / count
    mean_y = sum(y for _, y in flowers) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in flowers)
    slope /= sum((x - mean_x) ** 2 for x, _ in flowers)
    return slope, mean_y - slope * mean_x


SLOPE, INTERCEPT = fit(FLOWERS[::2])


@plumbline.track_predictions(envelope=True)
def predict(args: dict[str, float]) -> dict[str, float]:
    """Predicts a petal's width from its length, in cm."""
    plumbline.track_metric("input", args)
    width = SLOPE * args["petal_length"] + INTERCEPT
    plumbline.track_metric("petal_width", width)
    return {"petal_width": width}


def main() -> None:
    """Serves flowers, learns the truth, and tells how good the model was."""
    answers = [predict({"petal_length": length}) for length, _ in FLOWERS]

    # Days later: somebody has measured them.
    for answer, (_, width) in zip(answers, FLOWERS):
        plumbline.track_delayed_metrics({"actual_width": width}, answer["uuid"])

    # A job: only its own rows, wherever they came from.
    crn = plumbline.default_client().model_deployment_crn
    rows = plumbline.read_metrics(crn)["metrics"]
    rows = [row for row in rows if "actual_width" in row["metrics"]]
    errors = [abs(r["metrics"]["petal_width"] - r["metrics"]["actual_width"]) for r in rows]
    starts = [row["startTimeStampMs"] for row in rows]
    mean = sum(errors) / len(errors)
    plumbline.track_aggregate_metrics({"mean_absolute_error": mean}, min(starts), max(starts), crn)

    last = plumbline.read_metrics(crn)["metrics"][-1]
    print(f"{len(rows)} predictions, mean absolute error {last['metrics']['mean_absolute_error']}")


if __name__ == "__main__":
    main()
