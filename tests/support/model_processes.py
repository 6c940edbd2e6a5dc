"""Real model processes, started as the agent starts them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.inference.adapters.child import Child
from services.inference.domain.fleet import Batching
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.spec import ProcessSpec
from tests.support.models import idle_loop_body

IDENTITY = Signature(
    (TensorSpec("INPUT0", "FP32", (-1, 16)),), (TensorSpec("OUTPUT0", "FP32", (-1, 16)),), is_batchable=True
)


class ModelProcess:
    """One process; ``events`` are what it told its agent."""

    def __init__(self, path: Path, redis_url: str, *, consumer: str = "node.m.1.0@life.1", **changes: Any) -> None:
        defaults: dict[str, Any] = {
            "consumer": consumer,
            "model": "m",
            "version": "1",
            "path": str(path),
            "format": "onnx",
            "signature": IDENTITY,
            "batching": Batching(max_batch_size=8),
            "redis_url": redis_url,
        }
        self.spec = ProcessSpec(**{**defaults, **changes})
        self.events: list[Mapping[str, Any]] = []
        self._changed = asyncio.Event()
        self.child: Child

    async def start(self) -> Self:
        self.child = await Child.start("services.inference.model_process", self.spec.to_json(), self._heard)
        self._ending = asyncio.create_task(self.child.wait())
        await self.heard(state="ready")
        return self

    def _heard(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)
        self._changed.set()

    async def heard(self, **event: Any) -> Mapping[str, Any]:
        """Wait until it tells this."""
        async with asyncio.timeout(20):
            while True:
                for one in self.events:
                    if event.items() <= one.items():
                        return one
                self._changed.clear()
                waiting = asyncio.create_task(self._changed.wait())
                done, _ = await asyncio.wait((waiting, self._ending), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                assert self._ending not in done, f"the process ended: {self._ending.result()}"

    @property
    def figures(self) -> Mapping[str, int]:
        """The last figures that it told."""
        return next((event["figures"] for event in reversed(self.events) if "figures" in event), {})

    def abandon(self) -> None:
        """Close our end of its standard input, as an agent's death does."""
        stdin = self.child._process.stdin
        assert stdin is not None
        stdin.close()

    async def ended(self, timeout_s: float = 20.0) -> str:
        """Wait for its end; the reason, empty when in order."""
        return await asyncio.wait_for(asyncio.shield(self._ending), timeout_s)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.child.kill()
        await self._ending


def as_long_as_told_onnx(path: Path) -> Path:
    """ONNX: as the identity of 16 FP32, but it takes about as many microseconds as the largest input says."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["INPUT0"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["turns"], to=TensorProto.INT64),
            helper.make_node("Loop", ["turns", "yes", "INPUT0"], ["OUTPUT0"], body=idle_loop_body()),
        ],
        "as_long_as_told",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path
