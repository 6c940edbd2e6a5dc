"""When a model is probed, and what waits for that."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from services.inference.model_process.golden_probe import Judge, Outcome, ProbeResult
from services.inference.model_process.prober import Prober

PASS = ProbeResult(Outcome.PASS)


class Observer:
    def __init__(self) -> None:
        self.told: list[tuple[Outcome, int, int]] = []
        self.began: list[int] = []

    def probe_began(self, start_ns: int) -> None:
        self.began.append(start_ns)

    def probe_ended(self, result: ProbeResult, start_ns: int, end_ns: int) -> None:
        self.told.append((result.outcome, start_ns, end_ns))


class Bench:
    """A prober of a model that takes as long as it is told, on a clock of its own."""

    def __init__(self, *, takes_s: float, known_s: float = 0.0) -> None:
        self.now = 100.0
        self.takes_s = takes_s
        self.judge: Judge = lambda: PASS
        self.observer = Observer()
        self.prober = Prober(
            self.run,
            period_s=30,
            takes_s=known_s,
            observer=self.observer,
            now_ns=lambda: int(self.now * 1e9),
            monotonic=lambda: self.now,
        )

    async def run(self) -> Judge:
        self.now += self.takes_s
        return self.judge

    async def told(self) -> list[tuple[Outcome, int, int]]:
        """What the observer heard, once all is judged."""
        if self.prober._judging is not None:
            await self.prober._judging
        return self.observer.told


async def test_probes_come_every_period_and_rarely_where_they_take_long() -> None:
    bench = Bench(takes_s=0.01)
    prober = bench.prober
    assert (prober.due_in_s(), prober.is_overdue) == (0, False)
    await prober.probe()
    assert prober.due_in_s() == pytest.approx(29.99)
    bench.now += 31
    assert (prober.due_in_s(), prober.is_overdue) == (0, False)
    bench.now += 30
    assert prober.is_overdue
    bench.takes_s = 0.5
    await prober.probe()
    assert prober.due_in_s() == pytest.approx(249.5)
    bench.takes_s = 5.0
    await prober.probe()
    assert prober.due_in_s() == pytest.approx(595)
    told = await bench.told()
    assert [what for what, _, _ in told] == [Outcome.PASS] * 3
    assert all(end - start == pytest.approx(s * 1e9) for (_, start, end), s in zip(told, (0.01, 0.5, 5), strict=True))


@pytest.mark.parametrize(("takes_s", "is_forced"), [(1.1, True), (1.3, False)])
async def test_requests_wait_for_no_probe_that_takes_long(takes_s: float, *, is_forced: bool) -> None:
    bench = Bench(takes_s=takes_s)
    await bench.prober.probe()
    bench.now += 10_000
    assert bench.prober.due_in_s() == 0
    assert bench.prober.is_overdue is is_forced


async def test_what_a_probe_takes_may_be_known_before_the_first() -> None:
    bench = Bench(takes_s=0.0, known_s=5.0)
    bench.now += 10_000
    assert not bench.prober.is_overdue
    await bench.prober.probe()
    assert bench.prober.due_in_s() == pytest.approx(600), "the first one told what was found in the load"
    bench.takes_s = 0.01
    await bench.prober.probe()
    assert bench.prober.due_in_s() == pytest.approx(29.99)


async def test_batches_do_not_wait_until_an_answer_is_judged() -> None:
    bench, may_end, judged_in = Bench(takes_s=0.01), threading.Event(), []

    def judge() -> ProbeResult:
        judged_in.append(threading.current_thread())
        assert may_end.wait(10)
        return PASS

    bench.judge = judge
    await bench.prober.probe()
    assert (bench.observer.began, bench.observer.told) == ([100_000_000_000], [])
    may_end.set()
    assert [what for what, _, _ in await bench.told()] == [Outcome.PASS]
    assert judged_in != [threading.main_thread()]


async def test_an_answer_is_judged_before_the_next_probe() -> None:
    bench, may_end = Bench(takes_s=0.01), threading.Event()
    order: list[int] = []

    def judge(number: int) -> ProbeResult:
        assert may_end.wait(10)
        order.append(number)
        return PASS

    bench.judge = partial(judge, 1)
    await bench.prober.probe()
    bench.judge = partial(judge, 2)
    next_one = asyncio.create_task(bench.prober.probe())
    await asyncio.sleep(0.02)
    assert len(bench.observer.began) == 1
    may_end.set()
    await next_one
    await bench.told()
    assert order == [1, 2]
