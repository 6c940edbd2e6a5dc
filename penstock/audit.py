"""The registry's audit log, verified by whoever reads it.

Each entry holds the digest of the one before. What was changed, left out or put elsewhere breaks the chain; what was
cut off at the end doesn't, so keep a head now and then, and have later logs compared with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from penstock.registry.v1.resources_pb2 import AuditEntry

BEGINNING = "0" * 64
"""Stands for the entry before the first."""


class AuditError(ValueError):
    """A log is not as it was written; the message says where."""


@dataclass(frozen=True, slots=True)
class Head:
    """A log's last entry: its number, 0 for an empty log, and its digest. As text ``<number>:<digest>``."""

    sequence: int = 0
    sha256: str = BEGINNING

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: ValueError."""
        number, _, digest = text.partition(":")
        if not number.isdecimal() or len(digest) != len(BEGINNING):
            raise ValueError(f"got head {text!r}, expected the number and the SHA-256 of an entry, as 7:0123…")
        return cls(int(number), digest)

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256}"


def digest_of(
    *, sequence: int, time_ns: int, actor: str, peer: str, action: str, resource: str, details: str, previous: str
) -> str:
    """The digest of an entry: SHA-256 of its fields as a JSON list, in ASCII and without spaces."""
    fields = [sequence, time_ns, actor, peer, action, resource, details, previous]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def verify(entries: Iterable[AuditEntry], *, expected: Head = Head()) -> Head:
    """Verify a whole log, oldest entry first. Returns its head. ``expected`` is a head that it had before.

    Raises:
        AuditError: an entry was changed, moved or removed.
    """
    head = Head()
    is_found = head == expected
    for entry in entries:
        if entry.sequence != head.sequence + 1:
            raise AuditError(
                f"entry {head.sequence + 1} is missing: entry {entry.sequence} comes after {head.sequence}"
            )
        if entry.previous_sha256 != head.sha256:
            raise AuditError(f"entry {entry.sequence} doesn't follow the entry before it: one of them was changed")
        digest = digest_of(
            sequence=entry.sequence,
            time_ns=entry.log_time.ToNanoseconds(),
            actor=entry.actor,
            peer=entry.peer,
            action=entry.action,
            resource=entry.resource,
            details=entry.details,
            previous=entry.previous_sha256,
        )
        if digest != entry.sha256:
            raise AuditError(f"entry {entry.sequence} was changed: its content has the digest {digest[:16]}…")
        head = Head(entry.sequence, digest)
        is_found |= head == expected
    if not is_found:
        raise AuditError(f"the log, up to {head}, doesn't hold the entry {expected}: it was cut off or rewritten")
    return head
