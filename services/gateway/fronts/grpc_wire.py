"""The gRPC wire format over HTTP/2, as its specification has it: frames, timeouts, status messages, metadata."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import grpc

PREFIX_BYTES = 5
"""One byte says whether a message is compressed, four its length."""

ACCEPTED_ENCODINGS = b"identity,deflate,gzip"

Fields = list[tuple[bytes, bytes]]
Metadata = tuple[tuple[str, str | bytes], ...]

_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_WBITS = {"gzip": 31, "deflate": 15}
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
_UNHEEDED = frozenset(
    {
        b":method", b":scheme", b":path", b":authority", b"content-type", b"te", b"content-length", b"host",
        b"grpc-accept-encoding",
    }
)  # fmt: skip


class StatusError(Exception):
    """A call ends with a status because of what came over the wire."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(slots=True)
class Head:
    """What a call's request headers say."""

    timeout_s: float | None = None
    encoding: str = "identity"
    metadata: Metadata = ()


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Raises StatusError when a header is not what it must be."""
    head = Head()
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name in _UNHEEDED:
            continue
        if name.startswith(b"grpc-"):
            if name == b"grpc-timeout":
                head.timeout_s = timeout_s(value.decode("latin-1"))
            elif name == b"grpc-encoding":
                head.encoding = value.decode("latin-1")
        elif name.endswith(b"-bin"):
            metadata += [(name.decode("latin-1"), _binary(name, one)) for one in value.split(b",")]
        else:
            metadata.append((name.decode("latin-1"), value.decode("latin-1")))
    head.metadata = tuple(metadata)
    return head


def timeout_s(text: str) -> float:
    """``grpc-timeout`` in seconds: at most eight digits and a unit.

    Raises:
        StatusError: it is none.
    """
    digits, unit = text[:-1], text[-1:]
    if unit not in _SECONDS or not (digits.isascii() and digits.isdigit() and len(digits) <= 8):
        raise StatusError(grpc.StatusCode.INTERNAL, f"got grpc-timeout '{text}', expected 1-8 digits and one of HMSmun")
    return int(digits) * _SECONDS[unit]


def _binary(name: bytes, value: bytes) -> bytes:
    try:
        return base64.b64decode(value.strip() + b"=" * (-len(value.strip()) % 4), validate=True)
    except binascii.Error:
        raise StatusError(grpc.StatusCode.INTERNAL, f"header {name.decode('latin-1')} is no base64") from None


def metadata_fields(metadata: Iterable[tuple[str, str | bytes]]) -> Fields:
    """Metadata as header fields; binary values (keys end in ``-bin``) in base64."""
    fields: Fields = []
    for key, value in metadata:
        if key.endswith("-bin"):
            raw = value.encode() if isinstance(value, str) else value
            fields.append((key.encode("ascii"), base64.b64encode(raw).rstrip(b"=")))
        else:
            text = value.decode("ascii") if isinstance(value, bytes) else value
            fields.append((key.encode("ascii"), text.encode("ascii")))
    return fields


def status_fields(code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]] = ()) -> Fields:
    """The trailers that end a call."""
    fields = [(b"grpc-status", b"%d" % code.value[0])]
    if details:
        fields.append((b"grpc-message", quote(details, safe=_PRINTABLE).encode("ascii")))
    return fields + metadata_fields(metadata)


def check_length(prefix: bytes | bytearray | memoryview, limit: int) -> int:
    """The length of the message that a prefix announces.

    Raises:
        StatusError: it is above ``limit``.
    """
    length = int.from_bytes(prefix[1:PREFIX_BYTES], "big")
    if length > limit:
        raise too_large(length, limit)
    return length


def too_large(length: int, limit: int) -> StatusError:
    return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({length} vs. {limit})")


def unpack(flag: int, payload: bytes, encoding: str, limit: int) -> bytes:
    """A message as it was before compression.

    Raises:
        StatusError: the encoding is unknown, the message is not in it, or it is larger than ``limit``.
    """
    if flag == 0:
        return payload
    if flag != 1 or encoding == "identity":
        raise StatusError(grpc.StatusCode.INTERNAL, f"got a message with flag {flag} and grpc-encoding '{encoding}'")
    if encoding not in _WBITS:
        raise StatusError(
            grpc.StatusCode.UNIMPLEMENTED, f"got grpc-encoding '{encoding}', expected one of gzip, deflate, identity"
        )
    unpacker = zlib.decompressobj(_WBITS[encoding])
    try:
        message = unpacker.decompress(payload, limit + 1)
    except zlib.error as error:
        raise StatusError(grpc.StatusCode.INTERNAL, f"the message is no {encoding} data: {error}") from None
    if len(message) > limit:
        raise too_large(len(message), limit)
    if not unpacker.eof or unpacker.unused_data:
        raise StatusError(grpc.StatusCode.INTERNAL, f"the message is no whole {encoding} data")
    return message
