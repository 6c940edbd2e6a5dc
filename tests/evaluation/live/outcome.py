"""What the monitor said of a suite that was hurt."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Told:
    """A fault, and the first incident of its model after it. ``after_s`` is None where none came in time.

    ``is_named``: signal, cause, phase and replica are right, ``SETTLES_S`` after it came.
    """

    fault: str
    within_s: float
    after_s: float | None = None
    is_named: bool = False
    severity: str = ""
    summary: str = ""

    @property
    def is_in_time(self) -> bool:
        return self.after_s is not None and self.after_s <= self.within_s


@dataclass(frozen=True, slots=True)
class LiveOutcome:
    """``quiet_s`` passed, once all was learnt, before anything was hurt; ``pages`` and ``tickets``, of all the time,
    are of models that nothing was done to."""

    told: tuple[Told, ...]
    quiet_s: float
    requests: int
    refused: int
    pages: int
    tickets: int
    wrong: tuple[str, ...] = ()
    """What these said."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        if not path.exists():
            return None
        data = json.loads(path.read_text())
        return cls(**{**data, "told": tuple(Told(**one) for one in data["told"]), "wrong": tuple(data["wrong"])})
