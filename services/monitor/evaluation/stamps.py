"""Reads time stamps of any usual kind, to tell whether rows are in order."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_of(stamp: str) -> float | None:
    """Seconds on some fixed scale: ISO 8601 (no zone: UTC) or a number in its own unit; None for anything else."""
    try:
        return float(stamp)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
