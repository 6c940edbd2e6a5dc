"""Calls to one part of a suite, with its errors translated."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeVar

import grpc

from penstock import errors
from penstock.endpoints import ACTOR, target
from penstock.tls import Tls

Answer = TypeVar("Answer")

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
]
"""Of every channel: a tensor is as large as it is."""
_PAGE_SIZE = 1_000


def options_for(address: str, tls: Tls | None) -> list[tuple[str, int | str]]:
    """Of a channel to an address, or to one of several: these all go by the name of the first."""
    first, *more = address.split(",")
    name = [("grpc.default_authority", first.strip())] if more else []
    return [*OPTIONS, *name, *(tls.options if tls else ())]


class Channel:
    """A connection to ``part`` at ``address``, or to whichever of several answers, made when it is first used."""

    def __init__(self, part: str, address: str, tls: Tls | None = None) -> None:
        """Raises:
        OSError, ValueError: a file for TLS can't be read, or is not what it must be.
        """
        self.part = part
        self.address = address
        options = options_for(address, tls)
        if tls is None:
            self.grpc = grpc.insecure_channel(target(address), options=options)
        else:
            self.grpc = grpc.secure_channel(target(address), tls.credentials(), options=options)

    @cached_property
    def _metadata(self) -> list[tuple[str, str]]:
        """What the registry's audit log is to say of the caller."""
        return [("x-penstock-actor", _actor())] if self.part == "registry" else []

    def call(self, rpc: Callable[..., Answer], request: Any, *, timeout_s: float = 30.0) -> Answer:
        """Make one call.

        Raises:
            PenstockError: as the status says.
        """
        try:
            return rpc(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self.error(error) from None

    def stream(self, rpc: Callable[..., Any], request: Any) -> Iterator[Any]:
        """The messages of a streaming call; leaving the loop ends the call."""
        call = rpc(request)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self.error(error) from None
        finally:
            call.cancel()

    def pages(self, rpc: Callable[..., Any], request: Any, field: str) -> list[Any]:
        """What is in ``field`` of all pages of a list."""
        found: list[Any] = []
        request.page_size = _PAGE_SIZE
        while True:
            answer = self.call(rpc, request)
            found.extend(getattr(answer, field))
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def error(self, error: grpc.RpcError) -> errors.PenstockError:
        return errors.from_call(error, part=self.part, address=self.address)

    def is_serving(self, *, timeout_s: float = 2.0) -> bool:
        """Whether the server says SERVING.

        Raises:
            PenstockError: it says nothing, or something else than a health status.
        """
        # HealthCheckRequest("") is no bytes at all, HealthCheckResponse(SERVING) is field 1 = 1.
        check: Any = self.grpc.unary_unary("/grpc.health.v1.Health/Check")
        return bool(self.call(check, b"", timeout_s=timeout_s) == b"\x08\x01")

    def close(self) -> None:
        self.grpc.close()


def _actor() -> str:
    """Who uses this machine, as metadata can carry it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid {os.getuid()}"
    return (os.environ.get(ACTOR) or f"{user}@{socket.gethostname()}").encode("ascii", "replace").decode()
