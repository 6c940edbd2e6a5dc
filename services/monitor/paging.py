"""Page sizes and opaque page tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from services.common.errors import InvalidArgumentError

DEFAULT_SIZE = 50
MAX_SIZE = 1_000

T = TypeVar("T")


class Request(Protocol):
    """Asks for a page."""

    @property
    def page_size(self) -> int: ...

    @property
    def page_token(self) -> str: ...


def size_of(page_size: int) -> int:
    """The page size that is meant: 0 is the default."""
    if not 0 <= page_size <= MAX_SIZE:
        raise InvalidArgumentError(f"got page_size {page_size}, expected 0 to {MAX_SIZE}")
    return page_size or DEFAULT_SIZE


def token(cursor: str, *question: object) -> str:
    """A token for the page after ``cursor`` of a list that ``question`` (the filters) tells from others."""
    return base64.urlsafe_b64encode(_digest(cursor, question) + cursor.encode()).decode()


def cursor_of(page_token: str, *question: object) -> str:
    """The cursor in a token, "" in an empty one.

    Raises:
        InvalidArgumentError: the token is none of ours, was changed, or was given for another question.
    """
    if not page_token:
        return ""
    try:
        raw = base64.b64decode(page_token, altchars=b"-_", validate=True)
        cursor = raw[8:].decode()
    except (binascii.Error, ValueError):
        raw, cursor = b"", ""
    if not cursor or raw[:8] != _digest(cursor, question):
        raise InvalidArgumentError(f"got page_token {page_token[:64]!r}, expected the next_page_token of the same list")
    return cursor


def page(
    items: Iterable[T], key_of: Callable[[T], tuple[str, ...]], request: Request, *question: object
) -> tuple[list[T], str]:
    """A page of items that are sorted by their keys, and the token for the next one; "" after the last.

    Raises:
        InvalidArgumentError: the size is out of range, or the token is none of ours for this question.
    """
    size, after = size_of(request.page_size), tuple(cursor_of(request.page_token, *question).split("\n"))
    rest = [item for item in items if key_of(item) > after]
    following = token("\n".join(key_of(rest[size - 1])), *question) if len(rest) > size else ""
    return rest[:size], following


def _digest(cursor: str, question: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(repr((cursor, question)).encode(), digest_size=8).digest()
