"""One tenant: a process that sends so many requests a second, answered or not, and notes how each ended.

``python -m benchmarks.overload.caller '<Errand as JSON>'``
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as oip

from benchmarks.workloads import Identity

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_TICK_S = 0.005
_PATIENCE_S = 10.0
"""How long beyond its deadline a request is waited for."""
_LOOKED_INTO = 50
"""Every so many refusals one's details are read."""


class Ending(IntEnum):
    """How a request ended."""

    ANSWERED = 0
    EXPIRED = 1
    UNREACHABLE = 2
    UNFAIR = 3
    FULL = 4
    OTHER = 5


REFUSALS = (Ending.UNREACHABLE, Ending.UNFAIR, Ending.FULL)
_WORDS = {
    "Request timeout expired": Ending.EXPIRED,
    "Request timeout would expire": Ending.UNREACHABLE,
    "Exceeds fair share": Ending.UNFAIR,
    "Exceeds maximum": Ending.FULL,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A part of a tenant's requests. ``weight`` is how many of them come in a row of all kinds' weights."""

    priority: int
    timeout_s: float
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Errand:
    """What a tenant does. ``begin`` is of the machine's monotonic clock."""

    address: str
    model: str
    tenant: str
    per_second: float
    begin: float
    seconds: float
    kinds: tuple[Kind, ...]
    output: str

    def start(self) -> subprocess.Popen[bytes]:
        """Begin it in a process of its own. It stands for another machine, and leaves the suite this one's time."""
        command = ["nice", "-n", "10", sys.executable, "-m", "benchmarks.overload.caller", json.dumps(asdict(self))]
        return subprocess.Popen(command)


def _message(model: str, kind: Kind) -> bytes:
    rows = Identity().rows(1)
    message = oip.ModelInferRequest(model_name=model, raw_input_contents=[rows.tobytes()])
    message.inputs.add(name=Identity.input_name, datatype="FP32", shape=rows.shape)
    message.parameters["timeout"].int64_param = int(kind.timeout_s * 1e6)
    message.parameters["priority"].int64_param = kind.priority
    return bytes(message.SerializeToString())


class Caller:
    """Sends an errand's requests; ``rows`` are (begin, end, kind, ending, seconds to wait, whether badly refused)."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._messages = [_message(errand.model, kind) for kind in errand.kinds]
        self._order = [index for index, kind in enumerate(errand.kinds) for _ in range(kind.weight)]
        self._refusals = 0
        self.rows: list[tuple[float, float, int, int, int, int]] = []

    async def run(self) -> None:
        errand = self._errand
        limits = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(errand.address, options=limits) as channel:
            infer: Any = channel.unary_unary(METHOD)
            await channel.channel_ready()
            await asyncio.sleep(max(0.0, errand.begin - time.monotonic()))
            sent = int(max(0.0, time.monotonic() - errand.begin) * errand.per_second)  # who comes late begins late
            calls = set[asyncio.Task[None]]()
            while (now := time.monotonic() - errand.begin) < errand.seconds:
                due = int(now * errand.per_second)
                for number in range(sent, due):
                    task = asyncio.create_task(self._ask(infer, self._order[number % len(self._order)]))
                    calls.add(task)
                    task.add_done_callback(calls.discard)
                sent = max(sent, due)
                await asyncio.sleep(_TICK_S)
            if calls:
                await asyncio.wait(calls)

    async def _ask(self, infer: Any, kind: int) -> None:
        errand, begin = self._errand, time.monotonic()
        wait_s = is_wrong = 0
        try:
            await infer(
                self._messages[kind],
                metadata=(("x-penstock-tenant", errand.tenant),),
                timeout=errand.kinds[kind].timeout_s + _PATIENCE_S,
            )
            ending = Ending.ANSWERED
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            ending = next((found for words, found in _WORDS.items() if text.startswith(words)), Ending.OTHER)
            if ending is Ending.OTHER:
                print(f"{errand.tenant}: {error.code()}: {text}", file=sys.stderr)
            if ending in REFUSALS:
                wait_s = int(dict(error.trailing_metadata() or ()).get("retry-after", 0))
                is_wrong = self._is_wrong(error, wait_s)
        self.rows.append((begin, time.monotonic(), kind, ending, wait_s, is_wrong))

    def _is_wrong(self, error: Any, wait_s: int) -> int:
        """Whether a refusal is anything but what it is to be; details are read of some only."""
        self._refusals += 1
        if error.code() is not grpc.StatusCode.UNAVAILABLE or not 1 <= wait_s <= 60:
            return 1
        if self._refusals % _LOOKED_INTO:
            return 0
        rich, retry = rpc_status.from_call(error), error_details_pb2.RetryInfo()
        is_right = any(one.Unpack(retry) for one in rich.details) if rich else False
        return int(not is_right or retry.retry_delay.seconds != wait_s)


def main() -> None:
    said = json.loads(sys.argv[1])
    errand = Errand(**{**said, "kinds": tuple(Kind(**kind) for kind in said["kinds"])})
    caller = Caller(errand)
    asyncio.run(caller.run())
    np.save(Path(errand.output), np.array(caller.rows, dtype=np.float64).reshape(-1, 6))


if __name__ == "__main__":
    main()
