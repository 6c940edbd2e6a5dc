"""The cut loop in virtual time: what is run together, when, and how each request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.errors import UnavailableError
from services.common.lanes import Entry
from services.inference.backends import Arrays, RunError
from services.inference.domain.batching import BatchPolicy
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.ahead import ReadAhead
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Execution, Pick, execute
from services.inference.model_process.lane import Delivery
from services.inference.model_process.worker import BatchReport, Prober, Settled, Worker
from tests.support import virtual_loop
from tests.support.fake_gateway import infer_request
from tests.support.memory_lane import MemoryLane

SIGNATURE = Signature(
    (TensorSpec("INPUT0", "FP32", (-1, -1)),), (TensorSpec("OUTPUT0", "FP32", (-1, -1)),), is_batchable=True
)
HOUR_NS = 3_600 * 10**9


def now_ns() -> int:
    return int(asyncio.get_running_loop().time() * 1e9)


class Doubler:
    """A model that fails on negative numbers, and answers with a row too few where the sum is 1000."""

    signature = SIGNATURE
    device = "cpu"

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        array = inputs["INPUT0"]
        if (array < 0).any():
            raise RunError("negative")
        return {"OUTPUT0": (array * 2)[: -1 if array.sum() == 1000 else None]}


@dataclass
class TimedExecutor:
    """Really runs the batch; takes ``takes_s`` of virtual time."""

    encoder: Encoder
    takes_s: float = 0.01
    batches: list[tuple[float, list[int]]] = field(default_factory=list)
    given: list[float] = field(default_factory=list)
    """When each batch was given to it, perhaps while it ran another."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, pick: Pick) -> Execution:
        self.given.append(asyncio.get_running_loop().time())
        async with self.turn:
            batch = pick()
            self.batches.append((asyncio.get_running_loop().time(), [one.rows for one in batch]))
            await asyncio.sleep(self.takes_s)
            return execute(Doubler(), self.encoder, batch, is_batchable=True)


@dataclass
class TimedProber:
    """Probes that are due every so often, and take a while; ``times`` says when they ran."""

    period_s: float
    takes_s: float = 0.01
    due_at: float = 0.0
    times: list[float] = field(default_factory=list)

    def due_in_s(self) -> float:
        return max(0.0, self.due_at - asyncio.get_running_loop().time())

    @property
    def is_overdue(self) -> bool:
        return asyncio.get_running_loop().time() >= self.due_at + self.period_s

    async def probe(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.due_at = self.times[-1] + self.period_s
        await asyncio.sleep(self.takes_s)


@dataclass
class Replies:
    """Gateways that take every reply at once."""

    lane: MemoryLane
    outcomes: dict[int, Settled] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    reports: list[BatchReport | None] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    cancelled: set[int] = field(default_factory=set)
    payloads: dict[int, bytes | None] = field(default_factory=dict)
    fetch_takes_s: dict[int, float] = field(default_factory=dict)

    def is_gone(self, envelope: Envelope) -> bool:
        return envelope.gateway_id in self.gone

    def is_cancelled(self, envelope: Envelope) -> bool:
        return envelope.request_key in self.cancelled

    async def fetch(self, envelope: Envelope) -> bytes | None:
        await asyncio.sleep(self.fetch_takes_s.get(envelope.request_key, 0))
        if envelope.request_key not in self.payloads:
            raise UnavailableError("can't be fetched")
        return self.payloads[envelope.request_key]

    def reply(self, settled: Sequence[Settled], report: BatchReport | None) -> None:
        self.reports.append(report)
        for one in settled:
            key = one.delivery.entry.envelope.request_key
            assert key not in self.outcomes, "settled twice"
            self.outcomes[key], self.times[key] = one, asyncio.get_running_loop().time()
        self.lane.settle([one.delivery for one in settled])

    def batch_began(self, requests: int, start_ns: int) -> None: ...

    def batch_ended(self, report: BatchReport) -> None: ...

    def refused(self, settled: Sequence[Settled]) -> None: ...


class Bench:
    """A worker with everything around it, in virtual time."""

    def __init__(
        self,
        *,
        max_rows: int = 4,
        max_wait_s: float = 0.0,
        takes_s: float = 0.01,
        attempts: int = 3,
        prober: Prober | None = None,
    ) -> None:
        self.decoder = Decoder(model="m", signature=SIGNATURE)
        self.lane = MemoryLane()
        self.executor = TimedExecutor(Encoder(model="m", version="1", signature=SIGNATURE), takes_s)
        self.replies = Replies(self.lane)
        self.worker = Worker(
            self.lane,
            self.replies,
            executor=self.executor,
            decoder=self.decoder,
            policy=BatchPolicy(max_rows, max_wait_s),
            max_attempts=attempts,
            observer=self.replies,
            prober=prober,
            now_ns=now_ns,
        )

    def entry(
        self,
        key: int,
        *,
        rows: int = 1,
        width: int = 2,
        value: float | None = None,
        deadline_s: float | None = None,
        priority: int = 0,
        gateway: str = "g",
        payload_bytes: int = 0,
    ) -> Entry:
        array = np.full((rows, width), key if value is None else value, np.float32)
        return Entry(
            Envelope(request_key=key, gateway_id=gateway, rows=rows, priority=priority, payload_bytes=payload_bytes),
            b"" if payload_bytes else infer_request(array),
            traceparent="",
            tracestate="",
            enqueue_ns=now_ns(),
            deadline_ns=HOUR_NS if deadline_s is None else int(deadline_s * 1e9),
        )

    async def serve_for(self, seconds: float) -> None:
        """Serve so long, then stop in order; everything taken must have been settled."""
        serving = asyncio.create_task(self.worker.serve())
        await asyncio.sleep(seconds)
        await self.worker.stop()
        await serving
        assert self.lane.unsettled == {}

    def answer(self, key: int) -> list[list[float]]:
        from tritonclient.grpc import service_pb2

        outcome = self.replies.outcomes[key].outcome
        assert outcome.error is None
        response = service_pb2.ModelInferResponse.FromString(outcome.response)
        return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(response.outputs[0].shape).tolist()

    def reason(self, key: int) -> str:
        error = self.replies.outcomes[key].outcome.error
        assert error is not None
        return error.reason


def test_a_lone_request_runs_at_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        asyncio.get_running_loop().call_later(1.0, lambda: bench.lane.put(bench.entry(1)))
        await bench.serve_for(2)
        assert bench.executor.batches == [(1.0, [1])]
        assert bench.answer(1) == [[2.0, 2.0]]

    virtual_loop.run(scenario())


def test_a_lone_request_waits_for_company_no_longer_than_the_delay_counted_from_its_enqueueing() -> None:
    async def scenario() -> None:
        bench = Bench(max_wait_s=0.05)
        bench.lane.put(bench.entry(1))
        await asyncio.sleep(0.02)
        await bench.serve_for(1)
        assert bench.executor.batches == [(pytest.approx(0.05), [1])]
        assert bench.replies.reports[0] is not None
        assert bench.replies.reports[0].close_reason == "delay"

    virtual_loop.run(scenario())


def test_company_that_fills_the_batch_ends_the_wait() -> None:
    async def scenario() -> None:
        bench = Bench(max_wait_s=1.0)
        for n in range(1, 5):
            asyncio.get_running_loop().call_later(n / 100, lambda n=n: bench.lane.put(bench.entry(n)))
        await bench.serve_for(1)
        assert bench.executor.batches == [(pytest.approx(0.04), [1, 1, 1, 1])]
        assert bench.replies.reports[0] is not None
        assert bench.replies.reports[0].close_reason == "full"

    virtual_loop.run(scenario())


def test_batches_grow_while_the_executor_is_busy() -> None:
    async def scenario() -> None:
        bench = Bench(takes_s=0.1)
        for n in range(1, 8):
            asyncio.get_running_loop().call_later(n / 100, lambda n=n: bench.lane.put(bench.entry(n)))
        await bench.serve_for(1)
        assert [rows for _, rows in bench.executor.batches] == [[1], [1, 1, 1, 1], [1, 1]]
        assert {n: bench.answer(n)[0][0] for n in range(1, 8)} == {n: 2.0 * n for n in range(1, 8)}

    virtual_loop.run(scenario())


class Running:
    """A worker whose first batch, of 100 ms, has shown how long they take; the second one runs from 1.0 s on."""

    def __init__(self) -> None:
        self.bench = Bench(takes_s=0.1)
        self.bench.lane.put(self.bench.entry(1))
        self.at(1.0, lambda: self.bench.lane.put(self.bench.entry(2)))
        self.at(1.05, lambda: self.bench.lane.put(*(self.bench.entry(n) for n in range(3, 6))))

    def at(self, instant_s: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(instant_s, act)


def test_the_next_requests_are_in_hand_shortly_before_a_batch_ends() -> None:
    async def scenario() -> None:
        running, in_hand = Running(), []
        for instant in (1.08, 1.095):
            running.at(instant, lambda: in_hand.append(len(running.bench.lane.unsettled)))
        await running.bench.serve_for(2)
        assert in_hand == [1, 4]
        assert running.bench.executor.batches[1:] == [(1.0, [1]), (pytest.approx(1.1), [1, 1, 1])]

    virtual_loop.run(scenario())


def test_one_that_is_cancelled_or_expires_after_it_was_read_ahead_is_not_run() -> None:
    async def scenario() -> None:
        running = Running()
        running.at(1.06, lambda: running.bench.lane.put(running.bench.entry(6, deadline_s=1.099)))
        running.at(1.095, lambda: running.bench.replies.cancelled.add(4))
        await running.bench.serve_for(2)
        assert (running.bench.reason(6), running.bench.reason(4)) == ("DEADLINE_EXCEEDED", "CANCELLED")
        assert [rows for _, rows in running.bench.executor.batches[2:]] == [[1, 1]]

    virtual_loop.run(scenario())


def test_a_full_batch_is_given_to_the_executor_before_it_is_free() -> None:
    async def scenario() -> None:
        running = Running()
        running.at(1.05, lambda: running.bench.lane.put(*(running.bench.entry(n) for n in range(6, 9))))
        await running.bench.serve_for(2)
        executor = running.bench.executor
        assert executor.batches[2:] == [(pytest.approx(1.1), [1, 1, 1, 1]), (pytest.approx(1.2), [1, 1])]
        assert executor.given[2:] == [pytest.approx(1.09), pytest.approx(1.2)]
        assert running.bench.replies.outcomes.keys() == set(range(1, 9))
        spans = [(one.start_ns, one.end_ns) for one in running.bench.replies.reports[1:] if one is not None]
        assert spans == [(pytest.approx(at * 1e9), pytest.approx((at + 0.1) * 1e9)) for at in (1.0, 1.1, 1.2)]

    virtual_loop.run(scenario())


def test_a_batch_that_everybody_left_before_its_turn_is_not_run() -> None:
    async def scenario() -> None:
        running = Running()
        running.at(1.06, lambda: running.bench.lane.put(running.bench.entry(6)))
        running.at(1.095, lambda: running.bench.replies.cancelled.update(range(3, 7)))
        running.at(1.3, lambda: running.bench.lane.put(running.bench.entry(7)))
        await running.bench.serve_for(2)
        assert {running.bench.reason(n) for n in range(3, 7)} == {"CANCELLED"}
        assert running.bench.answer(7) == [[14.0, 14.0]]

    virtual_loop.run(scenario())


def test_one_that_is_wanted_again_after_its_turn_is_run_in_the_next_batch() -> None:
    async def scenario() -> None:
        running = Running()
        cancelled = running.bench.replies.cancelled
        running.at(1.06, lambda: running.bench.lane.put(running.bench.entry(6)))
        running.at(1.095, lambda: cancelled.add(4))
        running.at(1.15, lambda: cancelled.remove(4))
        await running.bench.serve_for(2)
        assert running.bench.executor.batches[2:] == [(pytest.approx(1.1), [1, 1, 1]), (pytest.approx(1.2), [1])]
        assert running.bench.answer(4) == [[8.0, 8.0]]

    virtual_loop.run(scenario())


def test_reads_that_came_too_late_are_begun_sooner() -> None:
    async def scenario() -> None:
        begun, expected_s = [], 0.02

        async def take() -> None:
            begun.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.006)

        ahead, leads = ReadAhead(take, now_ns), []
        for _ in range(60):
            since = asyncio.get_running_loop().time()
            await ahead.beside(asyncio.sleep(expected_s), rows=1, since_ns=now_ns())
            await ahead.finish()
            if begun:
                leads.append(since + expected_s - begun.pop())
        assert leads[0] == pytest.approx(0.002)
        assert max(leads) <= 0.01
        assert sum(lead > 0.006 for lead in leads[-20:]) >= 18

    virtual_loop.run(scenario())


def test_what_was_read_ahead_is_finished_before_the_end() -> None:
    async def scenario() -> None:
        running = Running()
        await running.bench.serve_for(1.095)
        assert running.bench.replies.outcomes.keys() == {1, 2, 3, 4, 5}

    virtual_loop.run(scenario())


def test_what_was_still_being_read_ahead_at_the_end_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        running = Running()
        take = running.bench.lane.take

        async def take_slowly(count: int, *, wait_s: float | None) -> list[Delivery]:
            taken = await take(count, wait_s=wait_s)
            await asyncio.sleep(0.02)
            return taken

        running.at(1.08, lambda: monkeypatch.setattr(running.bench.lane, "take", take_slowly))
        await running.bench.serve_for(1.1)
        assert running.bench.replies.outcomes.keys() == {1, 2, 3, 4, 5}

    virtual_loop.run(scenario())


def test_rows_over_the_limit_are_kept_for_the_next_batch_and_not_overtaken() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.lane.put(bench.entry(1, rows=3), bench.entry(2, rows=2), bench.entry(3, rows=1), bench.entry(4, rows=9))
        await bench.serve_for(1)
        assert [rows for _, rows in bench.executor.batches] == [[3], [2, 1], [9]]
        assert bench.answer(2) == [[4.0, 4.0]] * 2

    virtual_loop.run(scenario())


def test_shapes_are_not_mixed() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.lane.put(*(bench.entry(n, width=2 + n % 2) for n in range(1, 5)))
        await bench.serve_for(1)
        assert [rows for _, rows in bench.executor.batches] == [[1, 1], [1, 1]]
        assert [len(bench.answer(n)[0]) for n in range(1, 5)] == [3, 2, 3, 2]

    virtual_loop.run(scenario())


def test_a_cancelled_request_leaves_its_neighbours_alone() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.replies.cancelled.add(2)
        bench.lane.put(*(bench.entry(n) for n in range(1, 4)))
        await bench.serve_for(1)
        assert bench.reason(2) == "CANCELLED"
        assert (bench.answer(1), bench.answer(3)) == ([[2.0, 2.0]], [[6.0, 6.0]])
        assert [rows for _, rows in bench.executor.batches] == [[1, 1]]

    virtual_loop.run(scenario())


def test_one_that_is_cancelled_or_expires_while_it_is_held_back_is_not_run() -> None:
    async def scenario() -> None:
        bench = Bench(max_rows=1, takes_s=0.1)
        bench.lane.put(bench.entry(1), bench.entry(2, deadline_s=0.05), bench.entry(3), bench.entry(4))
        asyncio.get_running_loop().call_later(0.15, lambda: bench.replies.cancelled.add(4))
        await bench.serve_for(1)
        assert (bench.reason(2), bench.reason(4)) == ("DEADLINE_EXCEEDED", "CANCELLED")
        assert [start for start, _ in bench.executor.batches] == [0.0, pytest.approx(0.1)]

    virtual_loop.run(scenario())


def test_what_expires_or_is_cancelled_while_it_runs_is_reported_as_abandoned() -> None:
    async def scenario() -> None:
        bench = Bench(takes_s=0.1)
        bench.lane.put(bench.entry(1), bench.entry(2, deadline_s=0.05), bench.entry(3), bench.entry(4, deadline_s=0.2))
        asyncio.get_running_loop().call_later(0.05, lambda: bench.replies.cancelled.add(3))
        await bench.serve_for(1)
        assert [bench.replies.outcomes[key].is_abandoned for key in range(1, 5)] == [False, True, True, False]
        assert bench.answer(2) == [[4.0, 4.0]]

    virtual_loop.run(scenario())


def test_requests_of_a_gateway_that_is_gone_are_settled_without_a_reply() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.replies.gone.add("dead")
        bench.lane.put(bench.entry(1, gateway="dead"), bench.entry(2))
        await bench.serve_for(1)
        assert bench.replies.outcomes.keys() == {2}

    virtual_loop.run(scenario())


def test_only_the_guilty_request_gets_the_models_error() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.lane.put(bench.entry(1), bench.entry(2, value=-1), bench.entry(3))
        await bench.serve_for(1)
        error = bench.replies.outcomes[2].outcome.error
        assert error is not None
        assert (error.reason, error.message) == ("MODEL_ERROR", "negative")
        assert (bench.answer(1), bench.answer(3)) == ([[2.0, 2.0]], [[6.0, 6.0]])

    virtual_loop.run(scenario())


@pytest.mark.parametrize("step", ["decode", "encode"])
def test_a_defect_that_one_request_finds_is_that_requests_error_alone(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        bench, calls = Bench(), iter([None, ValueError("unforeseen")])
        part = bench.decoder if step == "decode" else bench.executor.encoder
        original = getattr(part, step)

        def fail_once(*args: Any) -> Any:
            if error := next(calls, None):
                raise error
            return original(*args)

        monkeypatch.setattr(part, step, fail_once)
        bench.lane.put(bench.entry(1), bench.entry(2), bench.entry(3))
        await bench.serve_for(1)
        error = bench.replies.outcomes[2].outcome.error
        assert error is not None
        assert error.message.startswith("internal error, logged under id")
        assert (bench.answer(1), bench.answer(3)) == ([[2.0, 2.0]], [[6.0, 6.0]])

    virtual_loop.run(scenario())


def test_a_wrong_number_of_rows_is_an_error_and_never_a_mixed_up_answer() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.lane.put(bench.entry(1, value=500), bench.entry(2, value=0), bench.entry(3, value=0))
        await bench.serve_for(1)
        assert bench.reason(1) == "MODEL_ERROR"
        assert (bench.answer(2), bench.answer(3)) == ([[0.0, 0.0]], [[0.0, 0.0]])

    virtual_loop.run(scenario())


def test_a_suspect_runs_alone_and_first() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.lane.put(bench.entry(1), bench.entry(2))
        bench.lane.put_suspect(bench.entry(3), delivery_count=3)
        await bench.serve_for(1)
        assert [rows for _, rows in bench.executor.batches] == [[1], [1, 1]]
        assert bench.replies.times[3] < bench.replies.times[1]

    virtual_loop.run(scenario())


def test_a_suspect_given_too_often_goes_to_the_dead_letters() -> None:
    async def scenario() -> None:
        bench = Bench(attempts=2)
        bench.lane.put_suspect(bench.entry(1), delivery_count=3)
        await bench.serve_for(1)
        assert bench.executor.batches == []
        assert bench.reason(1) == "POISON_MESSAGE"
        assert [reason for _, reason in bench.lane.dead_letters] == ["POISON_MESSAGE"]

    virtual_loop.run(scenario())


def test_the_most_urgent_go_first() -> None:
    async def scenario() -> None:
        bench = Bench(max_rows=1, takes_s=0.1)
        bench.lane.put(bench.entry(1, priority=2))
        asyncio.get_running_loop().call_later(
            0.05, lambda: bench.lane.put(bench.entry(2, priority=2), bench.entry(3, priority=1))
        )
        await bench.serve_for(1)
        assert sorted(bench.replies.times, key=lambda key: bench.replies.times[key]) == [1, 3, 2]

    virtual_loop.run(scenario())


def test_large_requests_are_fetched_and_failures_to_fetch_are_theirs_alone() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.replies.payloads = {1: infer_request(np.ones((1, 2), np.float32)), 2: None}
        bench.lane.put(*(bench.entry(n, payload_bytes=9) for n in (1, 2, 3)), bench.entry(4))
        await bench.serve_for(1)
        assert bench.answer(1) == [[2.0, 2.0]]
        assert 2 not in bench.replies.outcomes, "settled meanwhile: there is nothing left to do for it"
        assert bench.reason(3) == "UNAVAILABLE"
        assert bench.answer(4) == [[8.0, 8.0]]

    virtual_loop.run(scenario())


def test_nobody_waits_for_a_gateway_that_keeps_its_bytes() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.replies.payloads = {1: infer_request(np.ones((1, 2), np.float32))}
        bench.replies.fetch_takes_s = {1: 5.0, 2: 5.0}
        start = asyncio.get_running_loop().time()
        bench.lane.put(*(bench.entry(n, payload_bytes=9) for n in (1, 2)), bench.entry(3))
        asyncio.get_running_loop().call_later(1.0, lambda: bench.lane.put(bench.entry(4)))
        await bench.serve_for(6)
        took = {key: at - start for key, at in bench.replies.times.items()}
        assert took[3] < 0.2
        assert took[4] < 1.1
        assert 5.0 <= took[1] < 5.1
        assert bench.answer(1) == [[2.0, 2.0]]
        assert bench.reason(2) == "UNAVAILABLE"

    virtual_loop.run(scenario())


def test_stopping_waits_for_bytes_that_are_on_their_way() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.replies.payloads = {1: infer_request(np.ones((1, 2), np.float32))}
        bench.replies.fetch_takes_s = {1: 2.0}
        bench.lane.put(bench.entry(1, payload_bytes=9))
        await bench.serve_for(1)
        assert bench.answer(1) == [[2.0, 2.0]]
        assert not bench.lane.unsettled

    virtual_loop.run(scenario())


def test_stopping_finishes_what_was_taken_and_leaves_the_rest() -> None:
    async def scenario() -> None:
        bench = Bench(takes_s=1.0)
        bench.lane.put(bench.entry(1, rows=3), bench.entry(2, rows=3))
        asyncio.get_running_loop().call_later(0.5, lambda: bench.lane.put(bench.entry(3)))
        await bench.serve_for(0.6)
        assert bench.replies.outcomes.keys() == {1, 2}

    virtual_loop.run(scenario())


def test_an_idle_model_is_probed_at_once_and_every_period() -> None:
    async def scenario() -> None:
        prober = TimedProber(period_s=7.0)
        await Bench(prober=prober).serve_for(30)
        assert prober.times == pytest.approx([0, 7, 14, 21, 28])

    virtual_loop.run(scenario())


def test_a_probe_lets_requests_go_first() -> None:
    async def scenario() -> None:
        prober = TimedProber(period_s=10.0)
        bench = Bench(max_rows=1, takes_s=0.5, prober=prober)
        bench.lane.put(*(bench.entry(n) for n in range(1, 5)))
        await bench.serve_for(9)
        assert [at for at, _ in bench.executor.batches] == pytest.approx([0, 0.5, 1, 1.5])
        assert prober.times == pytest.approx([2.0])

    virtual_loop.run(scenario())


def test_a_probe_that_waited_for_a_period_takes_its_turn_between_two_batches() -> None:
    async def scenario() -> None:
        prober = TimedProber(period_s=2.0, takes_s=0.1)
        bench = Bench(max_rows=1, takes_s=0.5, prober=prober)
        bench.lane.put(*(bench.entry(n) for n in range(1, 13)))
        await bench.serve_for(10)
        batches = [at for at, _ in bench.executor.batches]
        assert len(bench.replies.outcomes) == 12
        assert len([at for at in prober.times if at < batches[-1]]) == 1
        assert not any(at <= probe < at + 0.5 for at in batches for probe in prober.times), "beside a batch"
        assert not any(probe <= at < probe + 0.1 for at in batches for probe in prober.times), "beside a batch"

    virtual_loop.run(scenario())


def test_a_worker_that_stops_probes_no_more() -> None:
    async def scenario() -> None:
        prober = TimedProber(period_s=1.0)
        bench = Bench(prober=prober)
        await bench.serve_for(0.5)
        assert prober.times == pytest.approx([0])

    virtual_loop.run(scenario())
