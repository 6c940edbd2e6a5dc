"""Callers that ask models for digits, each at its own pace, whatever becomes of the requests before."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from tests.support import models

_MOST_OPEN = 200
"""Requests of a model that are under way at once: a model that doesn't answer isn't asked further."""


class Callers:
    """Ask every model ``rate`` times a second, at random moments, for images of held-out digits.

    ``requests`` counts answers and refusals, ``refused`` the latter.
    """

    def __init__(self, address: str, names: list[str], *, rate: float) -> None:
        self._client = triton.InferenceServerClient(address)
        self._names, self._rate = names, rate
        self._images, self._labels = models.digits().images, models.digits().labels
        self._weights = {name: np.ones(10) for name in names}
        self._tasks: list[asyncio.Task[None]] = []
        self._open: set[asyncio.Task[None]] = set()
        self.requests = self.refused = 0

    def prefer(self, name: str, digit: int, times: float) -> None:
        """A model is asked for a digit so many times as often, for its share, as for another."""
        self._weights[name][digit] = times

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask_on(name, seed)) for seed, name in enumerate(self._names)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        ended = [task for task in self._tasks if task.done()]
        for task in (*self._tasks, *self._open):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._open, return_exceptions=True)
        await self._client.close()
        for task in ended:
            task.result()

    async def _ask_on(self, name: str, seed: int) -> None:
        random, loop = np.random.default_rng(seed), asyncio.get_running_loop()
        begun, due, under_way = loop.time(), 0.0, asyncio.Semaphore(_MOST_OPEN)
        while True:
            due += random.exponential(1 / self._rate)
            await asyncio.sleep(begun + due - loop.time())
            weights = self._weights[name][self._labels]
            image = self._images[random.choice(len(self._images), p=weights / weights.sum())]
            await under_way.acquire()
            task = asyncio.create_task(self._ask(name, image[None]))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            task.add_done_callback(lambda _: under_way.release())

    async def _ask(self, name: str, image: np.ndarray) -> None:
        tensor = triton.InferInput("image", list(image.shape), "FP32")
        tensor.set_data_from_numpy(image)
        try:
            await self._client.infer(name, [tensor], client_timeout=10.0)
        except InferenceServerException:
            self.refused += 1
        self.requests += 1
