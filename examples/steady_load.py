"""Requests at a steady pace, whatever becomes of them, and what became of them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from penstock import Tls


class SteadyLoad:
    """Asks a model for what images show, from a thread of its own, while the body of ``with`` runs.

    It names no version: which one answers is up to the suite.
    """

    def __init__(self, address: str, model: str, images: Any, labels: Any, *, per_second: float) -> None:
        self._address, self._model = address, model
        self._images, self._labels = images, labels
        self._pause_s = 1 / per_second
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_on()), name="load")
        self.answered: Counter[str] = Counter()
        """Answers by version."""
        self.right: Counter[str] = Counter()
        """Of these, the right ones."""
        self.failed: Counter[str] = Counter()
        """Requests that had no answer, by what was said instead."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()  # every request has its answer, or failed

    async def _ask_on(self) -> None:
        tls = Tls.from_environ()
        options = {"creds": tls.credentials(), "channel_args": tls.options} if tls else {}
        now = asyncio.get_running_loop().time
        async with triton.InferenceServerClient(self._address, **options) as client, asyncio.TaskGroup() as tasks:
            start = now()
            for number in itertools.count():
                await asyncio.sleep(start + number * self._pause_s - now())
                if self._stopping.is_set():
                    return
                tasks.create_task(self._ask(client, number % len(self._images)))

    async def _ask(self, client: triton.InferenceServerClient, number: int) -> None:
        spec = triton.InferInput("X", [1, self._images.shape[1]], "FP64")
        spec.set_data_from_numpy(self._images[number : number + 1])
        try:
            result = await client.infer(self._model, [spec], client_timeout=30.0)
        except InferenceServerException as error:
            self.failed[str(error)] += 1
            return
        version = result.get_response().model_version
        self.answered[version] += 1
        self.right[version] += bool(result.as_numpy("probabilities").argmax() == self._labels[number])

    def show(self, images: Any) -> None:
        """Ask for these images of the same things from now on."""
        self._images = images

    def ask_more(self, count: int) -> None:
        """Return when so many more requests have their answers, or failed."""
        goal = self.answered.total() + self.failed.total() + count
        while self._thread.is_alive() and self.answered.total() + self.failed.total() < goal:
            time.sleep(0.05)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} by version {version}" for version, count in sorted(self.answered.items()))
        return f"{self.answered.total()} answers ({counts or 'none'}), {self.failed.total()} failures"
