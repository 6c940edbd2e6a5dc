"""What is to be done with an admissible request."""

from __future__ import annotations

from typing import NamedTuple

from services.gateway.domain.lane import Lane
from services.gateway.domain.tiers import Tier


class Plan(NamedTuple):
    """Where an admissible request goes, how many rows it has, and how long it may take."""

    lane: Lane
    tier: Tier
    rows: int
    timeout_s: float
    request_id: str
