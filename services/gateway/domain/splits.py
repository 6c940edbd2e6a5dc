"""How a model's requests are divided between two of its versions while a rollout is under way."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from services.gateway.domain.lane import Lane

_MANTISSA_BITS = 53


@dataclass(frozen=True, slots=True)
class Split:
    """A division, as the registry set it; another one when it sets it anew. Shares are from 0 to 1.

    ``candidate_share`` of the requests that name no version, or ``alias``, go to the candidate; ``shadow_share`` of
    those that the baseline answers are copied for it. Where a request has a value for ``sticky_key``, that decides
    instead of a lot. ``comparison`` is where it is told how both answered, "comparisons/…"; empty: nobody asks.
    """

    candidate: Lane
    baseline: Lane
    candidate_share: float = 0.0
    shadow_share: float = 0.0
    sticky_key: str = ""
    alias: str = ""
    comparison: str = ""
    pair_tolerance: float = 0.0

    @property
    def model(self) -> str:
        return self.baseline.version.model

    @property
    def is_drawing(self) -> bool:
        """Whether the candidate gets any requests, or copies."""
        return self.candidate_share > 0 or self.shadow_share > 0

    @property
    def arm(self) -> str:
        """What the candidate is just now, as spans name it."""
        if self.candidate_share > 0:
            return "canary"
        return "shadow" if self.shadow_share > 0 else ""


def place_of(value: str | bytes, model: str) -> float:
    """Where a sticky key's value stands among all, from 0 to below 1; the same wherever and whenever it is asked.

    What stands below the candidate's share is the candidate's: as the share grows, nobody goes back. Keys fall
    differently for each model, so that not always the same callers try what is new.
    """
    raw = value.encode() if isinstance(value, str) else value
    digest = blake2b(raw, key=model.encode()[: blake2b.MAX_KEY_SIZE]).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - _MANTISSA_BITS)) / (1 << _MANTISSA_BITS)
