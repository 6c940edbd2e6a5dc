"""Compressed bodies of the REST API, both ways."""

from __future__ import annotations

import re
import zlib

from services.common.errors import InvalidArgumentError, ResourceExhaustedError

_COMPRESS_FROM_BYTES = 1_024
_WBITS = {"gzip": 31, "deflate": 15}
_REFUSED = re.compile(r"[\w*]+\s*;\s*q=0(\.0*)?\s*(,|$)")
"""What Accept-Encoding names so that it isn't used."""


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """A request's body without its Content-Encoding; at most ``limit`` bytes.

    Raises:
        InvalidArgumentError: the encoding is unknown, or the body is not what it says.
        ResourceExhaustedError: the body is larger than ``limit``.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in _WBITS:
        raise InvalidArgumentError(f"got Content-Encoding '{encoding}', expected gzip, deflate or none")
    unpacker = zlib.decompressobj(_WBITS[encoding])
    try:
        plain = unpacker.decompress(body, limit)
    except zlib.error as error:
        raise InvalidArgumentError(f"the body is no {encoding} data: {error}") from None
    if unpacker.unconsumed_tail:
        raise too_large(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidArgumentError(f"the body is no whole {encoding} data: got {len(body)} bytes")
    return plain


def too_large(limit: int) -> ResourceExhaustedError:
    return ResourceExhaustedError(f"got a body of more than {limit} bytes, the most that is taken")


def encoding_for(content: bytes, accepted: str) -> str | None:
    """How to send an answer, by the caller's Accept-Encoding; None: as it is, which is best for a small one."""
    if len(content) < _COMPRESS_FROM_BYTES:
        return None
    wanted = _REFUSED.sub("", accepted)
    return next((one for one in _WBITS if one in wanted), None)


def compressed(content: bytes, encoding: str) -> bytes:
    packer = zlib.compressobj(level=1, wbits=_WBITS[encoding])
    return packer.compress(content) + packer.flush()
