"""Where a model's files may lie: in places of their own below the model's folder, that every system has."""

from __future__ import annotations

import unicodedata

from services.common.errors import InvalidArgumentError

MAX_BYTES = 1024
MAX_NAME_BYTES = 255


def check(path: str) -> str:
    """A relative path with "/" between folders.

    Raises:
        InvalidArgumentError: it is none, or leads elsewhere.
    """
    names = path.split("/")
    is_plain = not any(unicodedata.category(character) == "Cc" or character in "\\:" for character in path)
    fits = len(path.encode()) <= MAX_BYTES and all(len(name.encode()) <= MAX_NAME_BYTES for name in names)
    if not fits or not is_plain or any(name in ("", ".", "..") for name in names):
        raise InvalidArgumentError(
            f"got path {path[:80]!r}, expected names with / between them, of at most {MAX_NAME_BYTES} bytes each "
            f"and {MAX_BYTES} in all, without '.', '..', colons, backslashes and control characters"
        )
    return path
