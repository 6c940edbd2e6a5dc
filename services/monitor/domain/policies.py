"""What the monitor may do because of an incident, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from services.monitor.domain.blocks import NS
from services.monitor.domain.foreign_incidents import is_foreign
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.recipes import Recipe


class ActionKind(StrEnum):
    """What there is to be done. The values are stored, and are labels of metrics."""

    HOLD = "hold"
    ROLL_BACK = "roll_back"
    QUARANTINE = "quarantine"
    RETRAIN = "retrain"


class Mode(StrEnum):
    """Whether it is done, or only said what would be."""

    ON = "on"
    DRY_RUN = "dry_run"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Policy:
    """When to do what. Empty signals, causes and severities mean any. Times in seconds.

    ``models`` are patterns as of a shell. ``recipe`` is there for ``RETRAIN`` only.
    """

    name: str
    action: ActionKind
    mode: Mode
    models: tuple[str, ...] = ("*",)
    signals: tuple[Signal, ...] = ()
    causes: tuple[Cause, ...] = ()
    severities: tuple[Severity, ...] = ()
    min_age_s: float = 0.0
    cool_down_s: float = 600.0
    max_actions: int = 1
    recipe: Recipe | None = None

    def matches(self, incident: Incident) -> bool:
        """Whether it is about incidents like this one, however old."""
        return (
            any(fnmatchcase(incident.model, pattern) for pattern in self.models)
            and (not self.signals or incident.signal in self.signals)
            and (not self.causes or incident.cause in self.causes)
            and (not self.severities or incident.severity in self.severities)
        )

    def is_old_enough(self, incident: Incident, *, now_ns: int) -> bool:
        return now_ns - incident.open_ns >= self.min_age_s * NS


def matching(policies: Iterable[Policy], incident: Incident) -> Iterator[Policy]:
    """Of each action the first policy that matches an open incident of a model of ours, unless that is off."""
    if is_foreign(incident.model) or not incident.is_open:
        return
    seen: set[ActionKind] = set()
    for policy in policies:
        if policy.action not in seen and policy.matches(incident):
            seen.add(policy.action)
            if policy.mode is not Mode.OFF:
                yield policy
