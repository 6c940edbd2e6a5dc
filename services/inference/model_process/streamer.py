"""Runs a decoupled model: one request at a time, whose responses leave as soon as they are made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.errors import InvalidArgumentError, PenstockError, UnavailableError
from services.inference.backends import DecoupledModel, InputError
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Execution, Outcome, model_error
from services.inference.model_process.flow import Flow
from services.inference.model_process.tensors import Tensors, join
from services.inference.model_process.worker import DEADLINE_EXCEEDED, Request

Send = Callable[[int, bytes | memoryview], None]


class StreamGateways(Protocol):
    """The gateways that wait for responses."""

    def begin_stream(self, envelope: Envelope, flow: Flow) -> None:
        """Tell ``flow`` what the gateway says of the request, until :meth:`end_stream`."""

    def end_stream(self, envelope: Envelope) -> None: ...

    def respond(self, envelope: Envelope, index: int, response: bytes | memoryview) -> None:
        """Hand over a serialised response, the first having the index 0. Returns at once."""


class Streamer:
    """Runs generators in a thread of its own, each from its beginning to its end, where it is closed.

    Before each response it waits until the caller has taken enough of those before. A caller that left, and a deadline,
    end the generator between two responses.
    """

    def __init__(
        self, model: DecoupledModel, encoder: Encoder, gateways: StreamGateways, *, now_ns: Callable[[], int]
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._gateways = gateways
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "streamer")
        self._flow: Flow | None = None

    async def stream(self, request: Request) -> Execution:
        """Run one request. Never raises because of it or the model: that is the outcome, whose response is empty."""
        entry, flow = request.delivery.entry, Flow()
        late = UnavailableError("the request's deadline passed before its last response", reason=DEADLINE_EXCEEDED)
        timer = self._loop.call_later((entry.deadline_ns - self._now_ns()) / 1e9, flow.end, late)
        self._flow = flow
        self._gateways.begin_stream(entry.envelope, flow)

        def send(index: int, response: bytes | memoryview) -> None:
            self._loop.call_soon_threadsafe(self._gateways.respond, entry.envelope, index, response)

        try:
            return await self._loop.run_in_executor(self._thread, self._run, request.tensors, flow, send)
        finally:
            timer.cancel()
            self._flow = None
            self._gateways.end_stream(entry.envelope)

    def _run(self, tensors: Tensors, flow: Flow, send: Send) -> Execution:
        started, infer_ns, output_ns, input_ns = time.perf_counter_ns(), 0, 0, 0
        sent_bytes = 0
        try:
            inputs = join([tensors])
            input_ns = time.perf_counter_ns() - started
            responses = self._model.stream(inputs)
            try:
                while flow.wait():
                    began = time.perf_counter_ns()
                    outputs = next(responses, None)
                    made = time.perf_counter_ns()
                    infer_ns += made - began
                    if outputs is None:
                        return Execution([Outcome(sent_bytes=sent_bytes)], input_ns, infer_ns, output_ns)
                    response = self._encoder.encode(tensors, self._encoder.prepare(outputs), 0)
                    output_ns += time.perf_counter_ns() - made
                    if flow.add(len(response)):
                        send(flow.sent - 1, response)
                        sent_bytes += len(response)
            finally:
                responses.close()
            outcome = Outcome(error=flow.error, sent_bytes=sent_bytes)
        except Exception as error:  # noqa: BLE001 - whatever the model provokes ends here, as an outcome
            outcome = Outcome(error=_error_of(error))
        return Execution([outcome], input_ns, infer_ns, output_ns)

    def hurry(self) -> None:
        """End the stream in hand, if its caller has got a part of it: nobody else can go on with it."""
        if self._flow is not None and self._flow.sent:
            error = f"the model process shut down after {self._flow.sent} responses"
            self._flow.end(UnavailableError(error, reason="SHUTTING_DOWN"))

    def close(self) -> None:
        """Wait until the generator in hand is closed."""
        self._thread.shutdown()


def _error_of(error: Exception) -> PenstockError:
    if isinstance(error, PenstockError):
        return error
    return InvalidArgumentError(str(error)) if isinstance(error, InputError) else model_error(error)
