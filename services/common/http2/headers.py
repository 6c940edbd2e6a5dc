"""Header blocks (HPACK, RFC 7541): read with a cache, written without state."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hpack import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from services.common.http2.decoding import BlockDecoder
from services.common.http2.frames import ErrorCode, FaultError

Fields = list[tuple[bytes, bytes]]

_MAX_CACHED_BLOCKS = 128
_MAX_CACHED_BYTES = 512
_NEW_SIZE = {bytes((first,)) for first in range(0x20, 0x40)}
"""First bytes of a block that gives the table a new size."""
_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE = re.compile(rb"(?:[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?)?").fullmatch
_OF_A_CONNECTION = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
_OF_A_REQUEST = {b":method", b":scheme", b":authority", b":path"}
_OF_A_RESPONSE = {b":status"}
_COLON = 0x3A
_LONGEST_LENGTH = 18


class Headers:
    """The fields of one header block, read and checked once however often the block comes.

    ``fault`` says why the message is malformed (RFC 9113, 8.1.1), "" if it isn't. ``memo`` is for whoever reads the
    fields: what was made of them may be kept there.
    """

    __slots__ = ("content_length", "fault", "fields", "memo")

    def __init__(self, fields: Fields, *, fault: str = "", content_length: int | None = None) -> None:
        self.fields = fields
        self.fault = fault
        self.content_length = content_length
        self.memo: Any = None

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)


class _Table(HeaderTable):
    """A dynamic table that counts its insertions."""

    insertions = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.insertions += 1
        super().add(name, value)


class HeaderReader:
    """The receiving half of a connection's HPACK state.

    What a block means depends on nothing but the dynamic table, and a table changes only by an insertion or by a new
    size, which only the beginning of a block may set (RFC 7541, 4.2). So the meaning of a block that did neither holds
    until some block does: such meanings are cached (a client that calls one method sends the same few indexed bytes
    each time), and forgotten with the first change.
    """

    def __init__(self, *, max_list_bytes: int, are_requests: bool) -> None:
        self._decoder = BlockDecoder(max_list_bytes)
        self._table = self._decoder.header_table = _Table()
        self._insertions = 0
        self._are_requests = are_requests
        self.cache: dict[bytes, Headers] = {}

    def read(self, block: bytes) -> Headers:
        """Read a block; look into ``cache`` first.

        Raises:
            FaultError: it can't be read, after which no other one can.
        """
        try:
            fields = self._decoder.fields(block)
        except OversizedHeaderListError as error:
            raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except (HPACKError, ValueError, IndexError) as error:
            raise FaultError(ErrorCode.COMPRESSION_ERROR, f"unreadable header block: {error}") from None
        headers = _checked(fields, are_requests=self._are_requests)
        if self._table.insertions != self._insertions or block[:1] in _NEW_SIZE:
            self._insertions = self._table.insertions
            self.cache.clear()
        elif len(block) <= _MAX_CACHED_BYTES:
            if len(self.cache) >= _MAX_CACHED_BLOCKS:
                self.cache.clear()
            self.cache[block] = headers
        return headers


def _checked(fields: Fields, *, are_requests: bool) -> Headers:
    """Trailers are a list without pseudo-header fields; a stream knows whether it may have some now."""
    allowed = _OF_A_REQUEST if are_requests else _OF_A_RESPONSE
    pseudo: dict[bytes, bytes] = {}
    lengths: set[int] = set()
    is_regular = False
    for name, value in fields:
        if not _NAME(name) or not _VALUE(value):
            return Headers(fields, fault="a field has characters that no field may have")
        if name[0] == _COLON:
            if is_regular or name in pseudo or name not in allowed:
                return Headers(fields, fault="a pseudo-header field is unknown, repeated or out of place")
            pseudo[name] = value
            continue
        is_regular = True
        if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
            return Headers(fields, fault="a field is about the connection")
        if name == b"content-length":
            lengths.add(int(value) if value.isdigit() and len(value) <= _LONGEST_LENGTH else -1)
    if -1 in lengths or len(lengths) > 1:
        return Headers(fields, fault="content-length is not one number")
    if pseudo and not _is_whole(pseudo):
        return Headers(fields, fault="a pseudo-header field is missing")
    return Headers(fields, content_length=lengths.pop() if lengths else None)


def _is_whole(pseudo: dict[bytes, bytes]) -> bool:
    if b":status" in pseudo:
        return len(pseudo[b":status"]) == 3 and pseudo[b":status"].isdigit()
    if pseudo.get(b":method") == b"CONNECT":
        return pseudo.keys() == {b":method", b":authority"}
    return all(pseudo.get(name) for name in (b":method", b":scheme", b":path"))


def is_head(headers: Headers) -> bool:
    """Whether it begins a message; trailers have no pseudo-header fields."""
    return bool(headers.fields) and headers.fields[0][0][:1] == b":"


def encode(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block of literals that leaves both tables as they are, so that it may be built once and sent often."""
    parts: list[bytes] = []
    for name, value in fields:
        parts += (b"\0", _length(len(name)), name, _length(len(value)), value)
    return b"".join(parts)


def _length(number: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, 5.1)."""
    if number < 127:
        return bytes((number,))
    digits = [127]
    number -= 127
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes((*digits, number))
