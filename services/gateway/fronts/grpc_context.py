"""What a servicer sees of its call, as grpc.aio.ServicerContext has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from services.common.http2 import Stream
from services.gateway.fronts import grpc_wire as wire

if TYPE_CHECKING:
    from services.gateway.fronts.grpc_route import Route

_COMMON_NAME, _ALTERNATIVE_NAME = "x509_common_name", "x509_subject_alternative_name"


class Context(Stream):
    """The part of a call that is asked about it and told how it is to end; :class:`Call` sets it up."""

    __slots__ = ("_callbacks", "_code", "_details", "_route", "_trailing", "deadline", "ended", "is_done")

    _route: Route
    _code: grpc.StatusCode | None
    _details: str
    _trailing: Iterable[tuple[str, str | bytes]]
    _callbacks: list[Callable[[Any], None]] | None
    is_done: bool
    deadline: float | None
    """When the caller waits no more, by the event loop's clock."""
    ended: wire.StatusError | None
    """Why the servicer was cancelled from here; None: it wasn't."""

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        self._code, self._details = code, details
        self._trailing = trailing_metadata or self._trailing
        raise grpc.aio.AbortError(details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = trailing_metadata

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._route.metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing: responses are never compressed, as a client must accept."""

    def disable_next_message_compression(self) -> None:
        """Nothing: responses are never compressed."""

    def time_remaining(self) -> Any:
        return None if self.deadline is None else max(0.0, self.deadline - self.connection.loop.time())

    def peer(self) -> str:
        host, port = (self.connection.extra_info("peername") or ("unknown", 0))[:2]
        return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def peer_identities(self) -> Iterable[bytes] | None:
        return self.auth_context().get(self.peer_identity_key() or "")

    def peer_identity_key(self) -> str | None:
        known = self.auth_context()
        return next((key for key in (_ALTERNATIVE_NAME, _COMMON_NAME) if key in known), None)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        tls = self.connection.extra_info("ssl_object")
        if tls is None:
            return {}
        known: dict[str, list[bytes]] = {"transport_security_type": [b"ssl"]}
        shown = tls.getpeercert() or {}
        fields = dict(field for part in shown.get("subject", ()) for field in part)
        if "commonName" in fields:
            known[_COMMON_NAME] = [fields["commonName"].encode()]
        if "subjectAltName" in shown:
            known[_ALTERNATIVE_NAME] = [value.encode() for _, value in shown["subjectAltName"]]
        return known

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks = [*(self._callbacks or ()), callback]

    def cancelled(self) -> bool:
        return self.ended is not None

    def done(self) -> bool:
        return self.is_done


grpc.aio.ServicerContext.register(Context)
