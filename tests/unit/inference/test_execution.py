"""Where batches run: in a thread, or in the event loop's own when they are short."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from services.common.errors import InvalidArgumentError
from services.inference.backends import Arrays, DeviceLostError, InputError, RefusedError
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process import execution
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import ModelExecutor, Pick, StallWatch
from tests.support.fake_gateway import infer_request

SIGNATURE = Signature(
    (TensorSpec("INPUT0", "FP32", (-1, 1)),), (TensorSpec("OUTPUT0", "FP32", (-1, 1)),), is_batchable=True
)


@dataclass
class Model:
    """Runs on a clock that advances by what the input says, in nanoseconds."""

    now_ns: int = 0
    threads: list[threading.Thread] = field(default_factory=list)
    signature: Any = SIGNATURE
    device: str = "cpu"

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.threads.append(threading.current_thread())
        self.now_ns += int(inputs["INPUT0"][0, 0])
        return {"OUTPUT0": inputs["INPUT0"]}


@contextmanager
def executing(model: Model, monkeypatch: pytest.MonkeyPatch | None = None) -> Iterator[ModelExecutor]:
    """In the model's time, where it can be set."""
    if monkeypatch is not None:
        monkeypatch.setattr(execution, "time", type("Clock", (), {"perf_counter_ns": lambda: model.now_ns}))
    encoder = Encoder(model="m", version="1", signature=SIGNATURE)
    executor = ModelExecutor(model, encoder, is_batchable=True, on_stall=lambda: None)
    try:
        yield executor
    finally:
        executor.close()


def batch(takes_ns: float) -> Pick:
    tensors = Decoder(model="m", signature=SIGNATURE).decode(infer_request(np.array([[takes_ns]], np.float32)))
    return lambda: [tensors]


async def test_a_batch_that_is_given_meanwhile_needs_no_event_loop_to_begin() -> None:
    class Held(Model):
        def __init__(self) -> None:
            super().__init__()
            self.entered = [threading.Event(), threading.Event()]
            self.may_go_on = threading.Event()

        def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
            self.entered[int(inputs["INPUT0"][0, 0])].set()
            assert self.may_go_on.wait(10)
            return {"OUTPUT0": inputs["INPUT0"]}

    model, picked = Held(), []
    with executing(model) as executor:
        first = asyncio.create_task(executor.run(batch(0)))
        second = asyncio.create_task(executor.run(lambda: picked.append(model.may_go_on.is_set()) or batch(1)()))
        await asyncio.sleep(0)
        await asyncio.to_thread(model.entered[0].wait, 10)
        assert not picked, "what it holds is asked when its turn comes"
        model.may_go_on.set()
        assert model.entered[1].wait(10)  # while this thread stands still
        assert len((await first).outcomes) == len((await second).outcomes) == 1
        assert picked == [True]


async def test_a_batch_of_which_nothing_is_left_is_not_run() -> None:
    model = Model()
    with executing(model) as executor:
        assert (await executor.run(list)).outcomes == []
    assert not model.threads


@pytest.mark.parametrize("slow_ns", [[20_000_000], [5_000_000, 5_000_000]])
async def test_short_batches_come_to_run_in_the_loops_thread_and_slow_ones_send_them_back(
    slow_ns: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, here = Model(), threading.current_thread()
    with executing(model, monkeypatch) as executor:
        for _ in range(60):
            await executor.run(batch(10_000))
        assert model.threads[0] is not here
        assert model.threads[-1] is here
        for takes_ns in (*slow_ns, 10_000):
            await executor.run(batch(takes_ns))
        assert model.threads[-2] is here
        assert model.threads[-1] is not here


async def test_a_batch_that_waited_for_the_processor_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, here = Model(), threading.current_thread()
    with executing(model, monkeypatch) as executor:
        for _ in range(60):
            await executor.run(batch(10_000))
        await executor.run(batch(4_000_000))
        await executor.run(batch(10_000))
        assert model.threads[-1] is here


async def test_slow_batches_stay_in_their_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    with executing(model, monkeypatch) as executor:
        for _ in range(100):
            await executor.run(batch(400_000))
    assert threading.current_thread() not in model.threads


@pytest.mark.parametrize("is_short", [False, True])
async def test_a_lost_device_is_no_outcome_of_a_request(*, is_short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    with executing(model, monkeypatch) as executor:
        for _ in range(60 if is_short else 0):
            await executor.run(batch(10_000))

        def lose(_inputs: Arrays) -> dict[str, np.ndarray]:
            raise DeviceLostError("cuda:0")

        monkeypatch.setattr(model, "run", lose)
        with pytest.raises(DeviceLostError):
            await executor.run(batch(10_000))


def test_a_batch_that_holds_the_loop_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STALL_S", 0.01)
    calls, noticed = [], threading.Event()

    def note() -> None:
        calls.append(1)
        noticed.set()

    watch = StallWatch(note)
    watch.begin()
    assert noticed.wait(10)
    watch.end()
    watch.close()


def test_a_watch_that_fell_asleep_wakes_for_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STALL_S", 0.01)
    noticed = threading.Event()
    watch = StallWatch(noticed.set)
    for _ in range(3):
        watch.begin()
        watch.end()
        while not watch._is_asleep:
            time.sleep(0.001)
        noticed.clear()
        watch.begin()
        assert noticed.wait(10)
        watch.end()
    watch.close()


def test_a_watch_that_sleeps_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STALL_S", 0.001)
    for number in range(20):
        watch = StallWatch(lambda: None)
        watch.begin()
        watch.end()
        time.sleep(number * 0.0005)
        watch.close()


def executed(refused: dict[int, str], *rows: int, is_vague: bool = False) -> tuple[execution.Execution, list[int]]:
    """Requests of so many rows, with a model that refuses the rows which hold these numbers; and what it ran.

    Where it is vague, it doesn't say which rows.
    """
    sizes: list[int] = []

    class Picky(Model):
        def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
            held = inputs["INPUT0"].ravel().tolist()
            sizes.append(len(held))
            if wrong := {row: refused[int(one)] for row, one in enumerate(held) if int(one) in refused}:
                raise RefusedError("got an odd one") if is_vague else InputError("INPUT0", wrong)
            return {"OUTPUT0": inputs["INPUT0"]}

    decoder, encoder = Decoder(model="m", signature=SIGNATURE), Encoder(model="m", version="1", signature=SIGNATURE)
    numbers = iter(np.arange(sum(rows), dtype=np.float32))
    batch = [decoder.decode(infer_request(np.array([[next(numbers)] for _ in range(count)]))) for count in rows]
    return execution.execute(Picky(), encoder, batch, is_batchable=True), sizes


def test_whose_input_is_wrong_is_told_and_the_others_run_together() -> None:
    found, sizes = executed({2: "got two", 3: "got three", 6: "got six"}, 1, 3, 2, 1, 1)
    assert sizes == [8, 4]  # once with the wrong ones, once without
    assert [type(one.error) for one in found.outcomes] == [
        type(None),
        InvalidArgumentError,
        type(None),
        InvalidArgumentError,
        type(None),
    ]
    assert str(found.outcomes[1].error) == "input 'INPUT0', row 1: got two"
    assert str(found.outcomes[3].error) == "input 'INPUT0', row 0: got six"
    held = [
        np.frombuffer(pb.ModelInferResponse.FromString(found.outcomes[at].response).raw_output_contents[0], "<f4")
        for at in (0, 2, 4)
    ]
    assert [one.tolist() for one in held] == [[0], [4, 5], [7]]


def test_a_batch_of_wrong_inputs_is_not_run_again() -> None:
    found, sizes = executed({0: "got none", 1: "got one"}, 1, 1)
    assert sizes == [2]
    assert [str(one.error) for one in found.outcomes] == [
        "input 'INPUT0', row 0: got none",
        "input 'INPUT0', row 0: got one",
    ]


def test_who_is_alone_with_what_a_model_refuses_is_told() -> None:
    found, sizes = executed({1: ""}, 1, 1, 1, is_vague=True)
    assert sizes == [3, 1, 1, 1]
    assert [str(one.error) for one in found.outcomes] == ["None", "got an odd one", "None"]
    assert isinstance(found.outcomes[1].error, InvalidArgumentError)
