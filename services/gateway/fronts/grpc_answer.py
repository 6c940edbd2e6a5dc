"""What is said on a gRPC call: its head, its messages, and its status once."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from typing import Any

import grpc

from services.common.boundary import rich_status
from services.common.http2 import encode
from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_context import Context

_log = logging.getLogger(__name__)

_HEAD_FIELDS: wire.Fields = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", wire.ACCEPTED_ENCODINGS),
]
_HEAD = encode(_HEAD_FIELDS)
_OK = encode(wire.status_fields(grpc.StatusCode.OK, ""))
_prefix = struct.Struct(">BI").pack


class Answer(Context):
    """The part of a call that writes; :class:`Call` sets it up."""

    __slots__ = ("_is_started",)

    _is_started: bool
    """Whether the head was sent."""

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._send_head(initial_metadata)

    def _send_head(self, metadata: Iterable[tuple[str, str | bytes]] = ()) -> None:
        self._is_started = True
        self.send_headers(encode(_HEAD_FIELDS + wire.metadata_fields(metadata)) if metadata else _HEAD)

    async def write(self, message: Any) -> None:
        if self.is_done or not self.is_open:
            raise grpc.aio.UsageError("the call has ended")
        if not self._is_started:
            self._send_head()
        self.say(message)
        if not self.is_drained:
            await self.drain()

    def say(self, message: Any) -> None:
        """Write a message after the first one, at once; what the caller doesn't take yet is kept."""
        body = self._serialized(message)
        self.send_data(_prefix(0, len(body)), body)

    def _serialized(self, message: Any) -> bytes:
        return message if self._route.serialize is None else self._route.serialize(message)

    def set_result(self, body: bytes | memoryview) -> None:
        """End the call with its one response."""
        if self._code is None and not self._trailing and not self._is_started:
            self._end()
            self.respond(_HEAD, _prefix(0, len(body)), body, _OK)
            return
        if not self._is_started:
            self._send_head()
        self.send_data(_prefix(0, len(body)), body)
        self._finish()

    def set_exception(self, error: Exception) -> None:
        """End the call with the rich status of an error."""
        status = rich_status(error)
        self._trailing = status.trailing_metadata
        self.fail(status.code, status.details)

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with an error."""
        self._code, self._details = code, details
        self._finish()

    def _finish(self) -> None:
        """End the call with the status that was set."""
        if self.is_done:
            return
        self._end()
        try:
            fields = wire.status_fields(self._code or grpc.StatusCode.OK, self._details, self._trailing)
        except UnicodeError as error:
            _log.error("a servicer's metadata can't be sent: %s", error)
            fields = wire.status_fields(grpc.StatusCode.INTERNAL, "Invalid metadata")
        if not self._is_started:  # a status without any message is the whole response's head
            fields = _HEAD_FIELDS + fields
        self.send_headers(encode(fields), is_last=True)

    def _end(self) -> None:
        """The status is about to be sent."""
        self.is_done = True
        if self._callbacks is not None:
            for callback in self._callbacks:
                callback(self)
