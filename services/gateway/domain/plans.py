"""What is to be done with an admissible request."""

from __future__ import annotations

from typing import NamedTuple

from services.gateway.domain.lane import Lane
from services.gateway.domain.splits import Split
from services.gateway.domain.tiers import Tier


class Plan(NamedTuple):
    """Where an admissible request goes, how many rows it has, and how long it may take.

    With a ``choice`` it is the baseline's, and a version is drawn for each request.
    """

    lane: Lane
    tier: Tier
    rows: int
    timeout_s: float
    request_id: str
    choice: Choice | None = None


class Choice(NamedTuple):
    """What else may be done with a request that names no version. ``key`` is its sticky key, if a parameter says it."""

    split: Split
    candidate: Plan
    key: str = ""
