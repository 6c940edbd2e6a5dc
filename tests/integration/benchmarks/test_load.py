"""The benchmark's clients and checks, on the real bare server: figures that can't be trusted must not come out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.python_client import PythonClient

from benchmarks.load import H2load, Load, LoadClient, LoadFailedError, Timing, _parse
from benchmarks.measurement import Plan, Trial, measure, steps_of
from benchmarks.systems import EchoSystem
from benchmarks.workloads import Digits, Identity, Rows, Workload

H2LOAD = shutil.which("h2load")


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoSystem]:
    with EchoSystem() as system:
        yield system


@pytest.fixture(scope="module", params=["h2load", "python"])
def client(request: pytest.FixtureRequest) -> Iterator[LoadClient]:
    if request.param == "python":
        with PythonClient() as python:
            yield python
    elif H2LOAD is None:
        pytest.skip("h2load is not installed")
    else:
        yield H2load(H2LOAD)


@pytest.mark.parametrize("concurrency", [1, 16])
def test_exactly_the_requests_asked_for_are_sent_and_timed(
    concurrency: int, echo: EchoSystem, client: LoadClient
) -> None:
    trial = Trial(echo, Identity(), concurrency, client)
    before = trial._counts()

    timing = client.run(Load(echo.address, Identity().request(), concurrency), requests=160)

    assert (trial._counts() - before).success == len(timing.latencies_us) == 160
    assert 0 < timing.percentile_ms(50) <= timing.percentile_ms(99)
    assert timing.rate == pytest.approx(160 / timing.elapsed_s)
    assert timing.reply_bytes % 160 == 0


def test_a_load_whose_requests_fail_gives_no_figures(echo: EchoSystem, client: LoadClient) -> None:
    garbage = b"\xff\xff\xff"  # no ModelInferRequest
    trial = Trial(echo, Identity(), 4, client)
    trial.check_answers()
    trial._load = Load(echo.address, garbage, 4)

    with pytest.raises(LoadFailedError):
        trial.run()


def test_a_server_that_is_away_gives_no_figures() -> None:
    if H2LOAD is None:
        pytest.skip("h2load is not installed")
    with pytest.raises(LoadFailedError):
        H2load(H2LOAD).run(Load("127.0.0.1:1", b"", 1), requests=1)


def test_every_system_is_measured_in_turns(echo: EchoSystem, client: LoadClient) -> None:
    plan, told = Plan(concurrencies=(1, 4), rounds=3, seconds=0.05), list[str]()

    results = measure(plan, [Identity()], [echo], client=client, advance=told.append)

    assert len(told) == steps_of(plan, [Identity()], [echo])
    assert [(result.concurrency, len(result.rounds)) for result in results] == [(1, 3), (4, 3)]
    assert all(result.median.rate > 0 and result.median.batch_rows == 1 for result in results)


def test_a_wrong_answer_gives_no_figures(echo: EchoSystem, client: LoadClient) -> None:
    class Doubling(Identity):
        def rows(self, count: int) -> Rows:
            return np.ones((count, self.width), np.float32)

    class Demanding(EchoSystem):
        address = echo.address

        def answers(self, workload: Workload, rows: Rows) -> tuple[str, Rows]:
            return workload.input_name, rows * 2

    with pytest.raises(LoadFailedError, match=r"answers .* expected"):
        Trial(Demanding(), Doubling(), 1, client).check_answers()


@pytest.mark.parametrize(
    "output",
    [
        "",
        "status codes: 2 2xx\n1 succeeded, 1 failed, 0 errored, 0 timeout\ntraffic: 1B (1) data",
        "2 succeeded, 0 failed, 0 errored, 0 timeout\n",
        "3 succeeded, 0 failed, 0 errored, 0 timeout\ntraffic: 1B (20) total, 1B (10) data",
    ],
)
def test_what_h2load_says_of_failures_is_heard(output: str, tmp_path: Path) -> None:
    with pytest.raises(LoadFailedError, match="expected 2 successes"):
        _parse(output, tmp_path / "log", requests=2)


@pytest.mark.parametrize("log", ["", "1\t200\t5\n", "1\t200\t5\n2\t-1\t7\n"])
def test_a_log_with_failed_or_missing_requests_is_refused(log: str, tmp_path: Path) -> None:
    output = "2 succeeded, 0 failed, 0 errored, 0 timeout\ntraffic: 1B (20) total, 1B (10) data"
    (tmp_path / "log").write_text(log)

    with pytest.raises(LoadFailedError, match="2 times status 200"):
        _parse(output, tmp_path / "log", requests=2)


def test_percentiles_are_those_of_the_requests() -> None:
    timing = Timing(np.arange(1_000, 101_000, 1_000), 2.0, 0)

    assert timing.percentile_ms(50) == pytest.approx(50.5)
    assert timing.percentile_ms(99) == pytest.approx(99.01)
    assert timing.rate == 50


def test_the_digits_model_is_what_is_expected_of_it(tmp_path: Path) -> None:
    import onnxruntime

    digits = Digits()
    digits.save(tmp_path / "digits.onnx")
    rows = digits.rows(100)

    (answer,) = onnxruntime.InferenceSession(tmp_path / "digits.onnx").run(None, {digits.input_name: rows})

    assert np.allclose(answer, digits.expected(rows), rtol=1e-4, atol=1e-6)
