"""What tracking costs a prediction, and how fast rows become a DataFrame.

    make bench-python                   all of it, in 2 to 3 minutes
    BENCH_SCALE=0.1 make bench-python   a quick look

Each number stands beside what one would have without the client: a synchronous POST for each
prediction, pandas.read_csv of the same rows in a file, ``import urllib3``. ``json.dumps`` of the
same metrics, which nobody can do without, tells what of a time is the machine's.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from daemon import REPOSITORY, running_daemon

import plumbline

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
START_MS = 1596185125125

Predict = Callable[[dict[str, Any]], None]


def churn_metrics() -> list[dict[str, Any]]:
    """Returns the metrics of the captured predictions, about 900 bytes each."""
    lines = (REPOSITORY / "tests/data/churn/track.ndjson").read_text().splitlines()
    return [json.loads(line)["metrics"] for line in lines]


class Model:
    """Stands for a model: computes for a while, and knows how long that took."""

    def __init__(self, work_us: int) -> None:
        self._work_ns = work_us * 1000
        self.worked_ns = 0

    def work(self) -> None:
        """Computes. A processor that has slept until here would time its own waking up."""
        begin = time.perf_counter_ns()
        now = begin
        while now - begin < self._work_ns:
            now = time.perf_counter_ns()
        self.worked_ns = time.perf_counter_ns() - begin


def paced(model: Model, function: Predict, rate: int, count: int) -> tuple[list[float], float]:
    """Calls at a rate; returns what each call took beyond the model's work (µs), and the rate."""
    inputs = churn_metrics()
    took: list[float] = []
    begin = time.perf_counter()
    for n in range(count):
        wait_s = begin + n / rate - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        before = time.perf_counter_ns()
        function(inputs[n % len(inputs)])
        took.append((time.perf_counter_ns() - before - model.worked_ns) / 1000)
    return took, count / (time.perf_counter() - begin)


def quantile(values: list[float], q: float) -> float:
    """Returns the value that a share of q does not exceed."""
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]


def memory_mb() -> float:
    """Returns what this process has in memory, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def bare(model: Model) -> Predict:
    """Returns a prediction that nobody tracks."""

    def predict(metrics: dict[str, Any]) -> None:
        model.work()
        for key, value in metrics.items():
            _ = key, value

    return predict


def dumping(model: Model) -> Predict:
    """Returns one that only makes JSON of its metrics."""

    def predict(metrics: dict[str, Any]) -> None:
        model.work()
        json.dumps(metrics)

    return predict


def decorated(model: Model, client: plumbline.Client) -> Predict:
    """Returns one that is tracked."""

    @plumbline.track_predictions(client=client)
    def predict(metrics: dict[str, Any]) -> None:
        model.work()
        for key, value in metrics.items():
            plumbline.track_metric(key, value)

    return predict


def naive(model: Model, url: str) -> Predict:
    """Returns one with a POST in the call, on a new connection as the old clients do it."""

    def predict(metrics: dict[str, Any]) -> None:
        model.work()
        now_ms = time.time_ns() // 1_000_000
        body = {
            "modelDeploymentCrn": "crn:naive",
            "predictionUuid": plumbline.uuid7(now_ms),
            "startTimestampMs": now_ms,
            "endTimestampMs": now_ms,
            "metrics": metrics,
        }
        pool = urllib3.PoolManager()
        pool.request("POST", url + "/track-metrics", body=json.dumps(body).encode())
        pool.clear()

    return predict


def line(name: str, value: str, beside: str = "", target: str = "") -> None:
    """Prints a line of the table."""
    print(f"{name:<38} {value:<34} {beside:<40} {target}", flush=True)


def bench_calls(url: str) -> None:
    """Measures a prediction at 1,000 and 10,000 a second."""
    client = plumbline.Client(url, model_deployment_crn="crn:bench", buffer_bytes=256 << 20)
    count = max(int(10_000 * SCALE), 500)
    model = Model(work_us=200)
    without, _ = paced(model, bare(model), 1000, count)
    floor = quantile(without, 0.5)
    tracked = decorated(model, client)
    paced(model, tracked, 1000, 300)  # the thread is there, the connection open
    took, _ = paced(model, tracked, 1000, count)
    assert client.flush(120)
    dumps, _ = paced(model, dumping(model), 1000, count)
    posts, _ = paced(model, naive(model, url), 1000, max(count // 20, 100))
    p50, p99 = (quantile(took, q) - floor for q in (0.5, 0.99))
    post50, post99 = (quantile(posts, q) - floor for q in (0.5, 0.99))
    dumps50, dumps99 = (quantile(dumps, q) - floor for q in (0.5, 0.99))
    line(
        "added at 1,000/s, p50",
        f"{p50:.1f} µs",
        f"POST {post50:.0f} µs, {post50 / p50:.0f}x; json.dumps {dumps50:.0f} µs",
        f"at most 40: {'yes' if p50 <= 40 else 'NO'}",
    )
    line(
        "added at 1,000/s, p99",
        f"{p99:.1f} µs",
        f"POST {post99:.0f} µs, {post99 / p99:.0f}x; json.dumps {dumps99:.0f} µs",
        f"at most 200: {'yes' if p99 <= 200 else 'NO'}",
    )

    before_mb = memory_mb()
    model = Model(work_us=20)
    tracked = decorated(model, client)
    took, rate = paced(model, tracked, 10_000, max(int(100_000 * SCALE), 5000))
    most_mb = memory_mb()
    begin = time.perf_counter()
    assert client.flush(300)
    stats = client.stats()
    assert stats.rejected == stats.dropped == 0, stats
    line(
        "added at 10,000/s",
        f"{rate:.0f}/s, p50 {quantile(took, 0.5) - floor:.1f} µs, "
        f"p99 {quantile(took, 0.99) - floor:.0f} µs",
        f"memory +{most_mb - before_mb:.0f} MB, flush after {time.perf_counter() - begin:.1f} s",
    )
    client.close()


def bench_frame(url: str) -> None:
    """Measures rows into a DataFrame."""
    count = max(int(1_000_000 * SCALE), 10_000)
    fill(url, count)
    client = plumbline.Client(url)
    begin = time.perf_counter()
    frame = client.read_metrics_df("crn:frame")
    took_s = time.perf_counter() - begin
    assert len(frame) == count
    answer = urllib3.PoolManager().request(
        "GET", url + "/v1/metrics?model_deployment_crn=crn:frame", headers={"Accept": "text/csv"}
    )
    begin = time.perf_counter()
    table = pandas.read_csv(io.BytesIO(answer.data), keep_default_na=False)
    csv_s = time.perf_counter() - begin
    assert len(table) == count
    line(
        f"{count} rows into a DataFrame",
        f"{took_s:.1f} s, {count / took_s:.0f} rows/s",
        f"read_csv of a file {csv_s:.1f} s, {took_s / csv_s:.1f}x",
    )


def fill(url: str, count: int) -> None:
    """Stores rows of four metrics, one of them nested."""
    binary = REPOSITORY / os.environ.get("TEST_DAEMON", "build/plumbline")
    command = [str(binary), "ingest", "--url", url, "-"]
    ingest = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert ingest.stdin is not None
    for n in range(count):
        event = (
            '{"event":"track_metrics","modelDeploymentCrn":"crn:frame",'
            f'"predictionUuid":"{plumbline.uuid7(START_MS + n)}","startTimestampMs":{START_MS + n},'
            f'"endTimestampMs":{START_MS + n + 7},"metrics":{{"probability":{(n % 997) / 997},'
            f'"label":{"true" if n % 3 else "false"},'
            f'"input":{{"tenure":{n % 72},"plan":"p{n % 5}"}}}}}}\n'
        )
        ingest.stdin.write(event.encode())
    ingest.stdin.close()
    assert ingest.wait() == 0, "the rows could not be stored"


def bench_import() -> None:
    """Measures imports in processes of their own."""

    def import_ms(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; "
        code += "print((time.perf_counter() - t) * 1000)"
        runs = [subprocess.check_output([sys.executable, "-c", code]) for _ in range(11)]
        return min(map(float, runs))

    ours, theirs = import_ms("plumbline"), import_ms("urllib3")
    line("import plumbline", f"{ours:.0f} ms", f"import urllib3 {theirs:.0f} ms")


def main() -> None:
    """Prints the table."""
    line("what", "plumbline", "beside", "target")
    bench_import()
    with running_daemon() as url:
        bench_calls(url)
        bench_frame(url)


if __name__ == "__main__":
    main()
