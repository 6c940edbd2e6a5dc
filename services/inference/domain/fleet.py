"""Which model processes a node should run, and what is to be done about the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.inference.domain.content import Content
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature
from services.inference.domain.variants import ORIGINAL, Variant

DEFAULT_MAX_BATCH_SIZE = 64
DEFAULT_MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The place of one model process: stable over its restarts."""

    model: str
    version: str
    number: int


@dataclass(frozen=True, slots=True)
class Batching:
    """How a model process takes requests from its lanes, defaults filled in."""

    max_batch_size: int
    max_queue_delay_us: int = 0
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    priority_levels: int = 1


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that distinguishes one model process from another: a changed assignment needs a new process."""

    content: Content
    format: str
    manifest: Manifest
    is_trusted: bool
    signature: Signature
    batching: Batching
    variant: Variant = ORIGINAL
    tells_predictions: bool = False
    """Whether labels are expected, and what is answered is told for them."""
    quarantine: int = 0
    """How often its process was taken out."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A replica's process was taken out so often; ``is_last``: it goes on until another one takes requests."""

    sequence: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes the running processes equal to the desired ones."""

    start: tuple[Slot, ...]
    replace: tuple[Slot, ...]
    stop: tuple[Slot, ...]


def plan(desired: Mapping[Slot, Assignment], running: Mapping[Slot, Assignment]) -> Plan:
    return Plan(
        start=tuple(sorted(desired.keys() - running.keys())),
        replace=tuple(sorted(slot for slot in desired.keys() & running.keys() if desired[slot] != running[slot])),
        stop=tuple(sorted(running.keys() - desired.keys())),
    )


def effective_batch_size(configured: int, signature: Signature) -> int:
    """Most rows in a batch: what was asked for (0: the default), within what the file allows."""
    if not signature.is_batchable:
        return 1
    wanted = configured or DEFAULT_MAX_BATCH_SIZE
    return min(wanted, signature.max_batch_size) if signature.max_batch_size else wanted
