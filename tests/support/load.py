"""A bounded load of requests with known answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException


@dataclasses.dataclass(slots=True)
class Outcome:
    """What the clients saw."""

    right: int = 0
    wrong: int = 0
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    versions: Counter[str] = dataclasses.field(default_factory=Counter)
    """Which versions answered how often."""
    _progress: asyncio.Condition = dataclasses.field(default_factory=asyncio.Condition)

    async def more(self, count: int, *, within: float = 60.0) -> None:
        """Wait until that many more requests were answered rightly."""
        goal = self.right + count
        async with asyncio.timeout(within), self._progress:
            await self._progress.wait_for(lambda: self.right >= goal)

    async def note(self, *, is_right: bool, version: str = "") -> None:
        """Count an answer."""
        async with self._progress:
            self.versions[version] += 1
            self.right += is_right
            self.wrong += not is_right
            self._progress.notify_all()


@contextlib.asynccontextmanager
async def identity_load(
    address: str, *, model: str, clients: int, timeout_s: float = 30.0, width: int = 16, pause_s: float = 0.0
) -> AsyncIterator[Outcome]:
    """Keep ``clients`` requests under way while the body runs; on leaving, wait for the last answers.

    Each client pauses for ``pause_s`` after an answer.

    Every request carries a number of its own, so an answer that belongs to another request counts as wrong.
    """
    outcome, stop, numbers = Outcome(), asyncio.Event(), iter(range(1, 2**24))
    async with triton.InferenceServerClient(address) as client:

        async def ask() -> None:
            while not stop.is_set():
                sent = np.full((1, width), next(numbers), np.float32)
                tensor = triton.InferInput("INPUT0", [1, width], "FP32")
                tensor.set_data_from_numpy(sent)
                try:
                    answer = await client.infer(model, [tensor], client_timeout=timeout_s)
                except InferenceServerException as error:
                    outcome.errors[f"{error.status()}: {error.message()}"] += 1
                else:
                    is_right = np.array_equal(answer.as_numpy("OUTPUT0"), sent)
                    await outcome.note(is_right=is_right, version=answer.get_response().model_version)
                await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(ask())
            try:
                yield outcome
            finally:
                stop.set()
