"""Fingerprints of a resource's state."""

from __future__ import annotations

from services.common.errors import AbortedError


def of_revision(revision: int) -> str:
    """The etag of a state that was written at this revision: no two states share one."""
    return f"{revision:x}"


def check(name: str, *, present: str, given: str) -> None:
    """Refuse a caller who knows an older state; an empty ``given`` asks for no check.

    Raises:
        AbortedError: someone else was faster.
    """
    if given and given != present:
        raise AbortedError(f"got etag {given[:80]!r} of {name}, its present one is {present!r}: read it again")
