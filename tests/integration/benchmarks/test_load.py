"""The benchmark's client and checks, on the real bare server: figures that can't be trusted must not come out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import Call, H2load, Load, LoadFailedError, Timing, _parse
from benchmarks.measurement import Plan, Subject, Trial, check_answers, measure
from benchmarks.models import bench_models
from benchmarks.systems import EchoSystem
from benchmarks.wire import GrpcV2
from benchmarks.workloads import Digits, Identity, Rows

needs_h2load = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoSystem]:
    with EchoSystem() as system:
        yield system


@needs_h2load
@pytest.mark.parametrize("concurrency", [1, 16])
def test_exactly_the_requests_asked_for_are_sent_and_timed(concurrency: int, echo: EchoSystem) -> None:
    call = echo.api(Identity()).call(Identity().rows(1))

    timing = H2load().run(Load(call, concurrency), requests=160)

    assert len(timing.latencies_us) == 160
    assert 0 < timing.percentile_ms(50) <= timing.percentile_ms(99)
    assert timing.rate == pytest.approx(160 / timing.elapsed_s)
    assert timing.reply_bytes == 160 * len(call.ask())


@needs_h2load
def test_a_steady_load_keeps_its_rate_though_the_server_could_do_more(echo: EchoSystem) -> None:
    call = echo.api(Identity()).call(Identity().rows(1))

    timing = H2load().run_steadily(call, rate=100, requests=150)

    assert len(timing.latencies_us) == 150
    assert 1.4 < timing.sending_s < 1.8


@needs_h2load
def test_a_steady_load_that_falls_behind_gives_no_figures(echo: EchoSystem) -> None:
    call = echo.api(Identity()).call(Identity().rows(1))

    with pytest.raises(LoadFailedError, match=r"took .* to send, expected 0\.10 s"):
        H2load().run_steadily(call, rate=200_000, requests=20_000)


@needs_h2load
def test_a_load_whose_requests_fail_gives_no_figures(echo: EchoSystem) -> None:
    trial = Trial(echo, Identity(), 4, client=H2load())
    trial.warm_up(Plan(rounds=1, seconds=0.05))
    call = echo.api(Identity()).call(Identity().rows(1))
    trial.load = Load(Call(call.address, call.path, b"\xff\xff\xff"), 4)  # no ModelInferRequest

    with pytest.raises(LoadFailedError):
        trial.run()


@needs_h2load
def test_a_server_that_is_away_gives_no_figures() -> None:
    with pytest.raises(LoadFailedError):
        H2load().run(Load(Call("127.0.0.1:1", "/", b""), 1), requests=1)


@needs_h2load
def test_every_system_is_measured_in_every_round(echo: EchoSystem) -> None:
    plan, told = Plan(rounds=3, seconds=0.05), list[str]()

    results = measure(plan, [Subject(echo, Identity())], client=H2load(), say=told.append, concurrencies=[1, 4])

    assert len(told) == 2 * (1 + 3)
    assert [(result.concurrency, len(result.rounds)) for result in results] == [(1, 3), (4, 3)]
    assert all(result.median.rate > 0 and result.median.memory_mb > 1 for result in results)


def test_a_wrong_answer_gives_no_figures(echo: EchoSystem) -> None:
    class Doubling(Identity):
        def expected(self, rows: Rows) -> Rows:
            return rows * 2

    with pytest.raises(LoadFailedError, match=r"answers \(16,\).* expected"):
        check_answers("echo", echo.api(Doubling()), Doubling())


def test_an_error_as_answer_gives_no_figures(echo: EchoSystem) -> None:
    api = GrpcV2(echo.address, Identity())

    with pytest.raises(LoadFailedError, match="UNIMPLEMENTED"):
        Call(echo.address, "/no.Service/Method", api.call(Identity().rows(1)).body).ask()


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
        _parse(output, tmp_path / "log", requests=2, framing=5)


@pytest.mark.parametrize("log", ["", "1\t200\t5\n", "1\t200\t5\n2\t-1\t7\n"])
def test_a_log_with_failed_or_missing_requests_is_refused(log: str, tmp_path: Path) -> None:
    output = "2 succeeded, 0 failed, 0 errored, 0 timeout\ntraffic: 1B (20) total, 1B (10) data"
    (tmp_path / "log").write_text(log)

    with pytest.raises(LoadFailedError, match="2 times status 200"):
        _parse(output, tmp_path / "log", requests=2, framing=5)


def test_percentiles_are_those_of_the_requests() -> None:
    timing = Timing(np.arange(1_000, 101_000, 1_000), 2.0, 0)

    assert timing.percentile_ms(50) == pytest.approx(50.5)
    assert timing.percentile_ms(99) == pytest.approx(99.01)
    assert timing.rate == 50


def test_the_digits_model_is_the_same_as_file_and_as_function(tmp_path: Path) -> None:
    import onnxruntime

    digits = Digits()
    digits.save(tmp_path / "digits.onnx")
    digits.save_weights(tmp_path / "digits.npz")
    rows = digits.rows(100)

    (answer,) = onnxruntime.InferenceSession(tmp_path / "digits.onnx").run(None, {digits.input_name: rows})

    assert np.allclose(answer, digits.expected(rows), rtol=1e-4, atol=1e-6)
    assert np.allclose(bench_models.digits(tmp_path / "digits.npz")(rows), answer, rtol=1e-4, atol=1e-6)
