"""Page sizes, and page tokens: where the page before ended, opaque to the caller."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidArgumentError

DEFAULT_SIZE = 50
MAX_SIZE = 1000

Key = tuple[str | int, ...]
"""What a list is sorted by: the ids in a resource's name."""

_ID = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_MAX_NUMBER = 10**9


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list to read: at most ``size`` entries that come after ``after``."""

    scope: str
    size: int
    after: Key | None

    def next_token(self, last: Key) -> str:
        """The token that goes on after the entry with key ``last``."""
        return base64.urlsafe_b64encode(json.dumps([self.scope, *last]).encode()).decode()


def parse(scope: str, *, key_types: Sequence[type], size: int, token: str) -> Page:
    """The page that a request asks for. ``scope`` names the list, so that a token of another one is refused.

    A size over the limit is lowered to it (AIP-158).

    Raises:
        InvalidArgumentError: the size is negative, or the token none of this list.
    """
    if size < 0:
        raise InvalidArgumentError(f"got page_size {size}, expected 0 to {MAX_SIZE}")
    return Page(scope, min(size or DEFAULT_SIZE, MAX_SIZE), _parse_token(scope, key_types, token) if token else None)


def _parse_token(scope: str, key_types: Sequence[type], token: str) -> Key:
    try:
        got = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        got = None
    if not isinstance(got, list) or got[:1] != [scope] or not _is_key(got[1:], key_types):
        raise InvalidArgumentError(f"got page_token {token[:80]!r}, expected a next_page_token of the same list")
    return tuple(got[1:])


def _is_key(parts: Sequence[object], key_types: Sequence[type]) -> bool:
    return [type(part) for part in parts] == list(key_types) and all(
        0 < part < _MAX_NUMBER if isinstance(part, int) else _ID.fullmatch(str(part)) is not None for part in parts
    )
