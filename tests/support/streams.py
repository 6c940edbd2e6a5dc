"""A decoupled model, and tritonclient's stream as a test wants it."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tritonclient.grpc as triton

CODE = '''
import time

import numpy as np


class Model:
    """Makes n responses with pauses (ms) between them; for n = -1 one for each generator that ended before."""

    def load(self, folder, options):
        self.ended = []

    def response(self, number, at, size=0):
        return {"number": np.array([number]), "at": np.array([at]), "filling": np.zeros(size, np.uint8)}

    def infer(self, inputs):
        n, pause, bad, size = inputs["how"].tolist()
        if n < 0:
            yield from [self.response(*one) for one in self.ended]
            return
        made = 0
        try:
            for number in range(n):
                if number == bad:
                    raise ValueError(f"got to {bad}, expected less")
                if number or bad == -2:
                    time.sleep(pause / 1000)
                made += 1
                yield self.response(number, time.monotonic(), size)
        finally:
            self.ended.append((made, time.monotonic()))
'''

MANIFEST = """
[[inputs]]
name = "how"
datatype = "INT64"
shape = [4]

[[outputs]]
name = "number"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "at"
datatype = "FP64"
shape = [1]

[[outputs]]
name = "filling"
datatype = "UINT8"
shape = [-1]
"""


def folder(at: Path) -> Path:
    """A model's folder with this code."""
    at.mkdir()
    (at / "model.py").write_text(CODE)
    (at / "penstock.toml").write_text(MANIFEST)
    return at


def how(n: int, *, pause_ms: int = 0, bad: int = -1, size: int = 0) -> list[triton.InferInput]:
    """Inputs that ask for ``n`` responses; ``bad`` is which one fails, -2: there is a pause before the first."""
    tensor = triton.InferInput("how", [4], "INT64")
    tensor.set_data_from_numpy(np.array([n, pause_ms, bad, size]))
    return [tensor]


@dataclass
class Heard:
    """What a callback got, and when (monotonic)."""

    result: Any
    error: Any
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return str(self.result.get_response().id)

    @property
    def number(self) -> int:
        return int(self.result.as_numpy("number")[0])

    @property
    def made_at(self) -> float:
        return float(self.result.as_numpy("at")[0])

    @property
    def is_final(self) -> bool:
        return bool(self.result.get_response().parameters["triton_final_response"].bool_param)

    @property
    def is_empty(self) -> bool:
        return not self.result.get_response().outputs


class Stream:
    """One open stream of ``tritonclient.grpc``."""

    def __init__(self, address: str, model: str, **options: Any) -> None:
        self.client = triton.InferenceServerClient(address)
        self.model = model
        self._heard: queue.Queue[Heard] = queue.Queue()
        self._options = options

    def __enter__(self) -> Self:
        self.client.start_stream(lambda result, error: self._heard.put(Heard(result, error)), **self._options)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.stop_stream(cancel_requests=True)
        self.client.close()

    def ask(self, request_id: str, inputs: list[triton.InferInput], *, with_end: bool = True, **options: Any) -> None:
        self.client.async_stream_infer(
            options.pop("model", self.model),
            inputs,
            request_id=request_id,
            enable_empty_final_response=with_end,
            **options,
        )

    def next(self, *, within_s: float = 30) -> Heard:
        return self._heard.get(timeout=within_s)

    def until_end(self) -> Iterator[Heard]:
        """All that comes until a response is the last one, which is left out where it is empty, or an error."""
        while True:
            heard = self.next()
            if heard.error is not None or not heard.is_empty:
                yield heard
            if heard.error is not None or heard.is_final:
                return


def ended(address: str, model: str) -> list[tuple[int, float]]:
    """Of the generators of a model's process that ended: how many responses they made, and when they were closed."""
    with Stream(address, model) as stream:
        stream.ask("", how(-1))
        return [(one.number, one.made_at) for one in stream.until_end()]
