"""Real clients, each with a connection of its own: NVIDIA's over gRPC, httpx over REST."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx
import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

Row = NDArray[np.float32]

CONNECTION_LOST = "connection lost"
"""What REST has in place of a status when the server went away."""
_MARGIN_S = 2.0
_HTTP = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 500: "INTERNAL", 503: "UNAVAILABLE"}


@dataclass(frozen=True, slots=True)
class Fronts:
    """Where the gateways listen, ``host:port`` each."""

    grpc: Sequence[str]
    http: Sequence[str]

    def beginning_at(self, index: int) -> Fronts:
        """The same, in another order: so that callers are spread over all."""
        return Fronts(_turned(self.grpc, index), _turned(self.http, index))


def _turned(addresses: Sequence[str], index: int) -> Sequence[str]:
    first = index % len(addresses)
    return [*addresses[first:], *addresses[:first]]


class RefusedError(Exception):
    """An answer that is none: a status and what was said to it."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class Caller(Protocol):
    """Asks, one request at a time."""

    name: str

    async def ask(self, model: str, row: Row) -> Row: ...

    async def close(self) -> None: ...


class GrpcCaller:
    """gRPC; its channel moves on to the next gateway when one is gone."""

    name = "gRPC"

    def __init__(self, fronts: Fronts, *, deadline_s: float) -> None:
        target = fronts.grpc[0] if len(fronts.grpc) == 1 else f"ipv4:{','.join(fronts.grpc)}"
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._client = triton.InferenceServerClient(target, channel_args=options)
        self._deadline_s = deadline_s

    async def ask(self, model: str, row: Row) -> Row:
        """Ask.

        Raises:
            RefusedError: with gRPC's status.
        """
        tensor = triton.InferInput("INPUT0", list(row.shape), "FP32")
        tensor.set_data_from_numpy(row)
        try:
            answer = await self._client.infer(model, [tensor], client_timeout=self._deadline_s)
        except InferenceServerException as error:
            raise RefusedError(str(error.status()).removeprefix("StatusCode."), str(error.message())) from None
        return np.asarray(answer.as_numpy("OUTPUT0"))

    async def close(self) -> None:
        with contextlib.suppress(InferenceServerException):
            await self._client.close()


class RestCaller:
    """REST with JSON; connects to the next gateway when one takes no connection."""

    name = "REST"

    def __init__(self, fronts: Fronts, *, deadline_s: float) -> None:
        self._addresses = list(fronts.http)
        self._deadline_s = deadline_s
        self._client = httpx.AsyncClient(timeout=deadline_s + _MARGIN_S, trust_env=False)

    async def ask(self, model: str, row: Row) -> Row:
        """Ask.

        Raises:
            RefusedError: with the status that gRPC would have, or CONNECTION_LOST.
        """
        content: dict[str, object] = {
            "inputs": [{"name": "INPUT0", "shape": row.shape, "datatype": "FP32", "data": row.ravel().tolist()}],
            "parameters": {"timeout": int(self._deadline_s * 1e6)},
        }
        try:
            answer = await self._post(f"/v2/models/{model}/infer", content)
        except httpx.TimeoutException as error:
            raise RefusedError("DEADLINE_EXCEEDED", repr(error)) from None
        except httpx.TransportError as error:
            raise RefusedError(CONNECTION_LOST, repr(error)) from None
        if answer.status_code != 200:
            raise RefusedError(_HTTP.get(answer.status_code, f"HTTP {answer.status_code}"), answer.text[:200])
        (output,) = answer.json()["outputs"]
        return np.array(output["data"], np.float32).reshape(output["shape"])

    async def _post(self, path: str, content: dict[str, object]) -> httpx.Response:
        for _ in self._addresses[1:]:
            try:
                return await self._client.post(f"http://{self._addresses[0]}{path}", json=content)
            except httpx.ConnectError:  # nothing was sent
                self._addresses = [*self._addresses[1:], self._addresses[0]]
        return await self._client.post(f"http://{self._addresses[0]}{path}", json=content)

    async def close(self) -> None:
        await self._client.aclose()
