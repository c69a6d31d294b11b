"""Rows as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

NAN = float("nan")  # what json_normalize puts where a row lacks something

_FIXED = (
    "modelDeploymentCrn",
    "modelBuildCrn",
    "modelCrn",
    "startTimeStampMs",
    "endTimeStampMs",
    "predictionUuid",
)


class FrameBuilder:
    """Gathers rows by column, so that a million of them never exist as a million dicts."""

    def __init__(self) -> None:
        self._fixed: dict[str, list[Any]] = {name: [] for name in _FIXED}
        self._metrics: dict[str, list[Any]] = {}
        self._crns: dict[str, str] = {}
        self._count = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows in their order."""
        fixed = [self._fixed[name].append for name in _FIXED]
        crn_of = self._crns.setdefault
        for row in rows:
            deployment, build, model, start_ms, end_ms, uuid, metrics = row.values()
            for append, value in zip(
                fixed,
                (
                    crn_of(deployment, deployment),  # one text each, not one a row
                    crn_of(build, build),
                    crn_of(model, model),
                    start_ms,
                    end_ms,
                    uuid,
                ),
            ):
                append(value)
            self._add_metrics("metrics.", metrics)
            self._count += 1

    def _add_metrics(self, prefix: str, metrics: Mapping[str, Any]) -> None:
        for key, value in metrics.items():
            name = prefix + key
            if type(value) is dict:
                self._add_metrics(name + ".", value)
                continue
            column = self._metrics.get(name)
            if column is None:
                column = self._metrics[name] = []
            if len(column) < self._count:
                column.extend([NAN] * (self._count - len(column)))
            if len(column) == self._count:
                column.append(value)
            else:
                column[-1] = value  # "a.b" and {"a": {"b": ...}} have one name

    def frame(self) -> pandas.DataFrame:
        """Returns the DataFrame. Raises ImportError without pandas."""
        import pandas

        for column in self._metrics.values():
            column.extend([NAN] * (self._count - len(column)))
        return pandas.DataFrame({**self._fixed, **self._metrics})
