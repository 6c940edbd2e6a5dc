"""What a request is known by where its id is not kept: eight bytes of a hash."""

from __future__ import annotations

from hashlib import blake2b

KEY_BYTES = 8
_PERSON = b"penstock request"


def request_key(request_id: str, row: int = 0) -> bytes:
    """The key of one row of a request. Of a million keys of one model two are alike by chance once in forty million."""
    return blake2b(f"{row}\0{request_id}".encode(), digest_size=KEY_BYTES, person=_PERSON).digest()
