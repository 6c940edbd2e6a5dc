"""Outcomes are written at once, a line each: what was interrupted goes on where it ended.

Those of other detectors, or of other scenarios, than there are now are passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.evaluation.run import Job, Outcome

ROOT = Path(__file__).resolve().parents[2]
_JUDGED = ("services/monitor/domain", "services/monitor/evaluation", "services/monitor/analysis.py")
_JUDGES = tuple(
    f"tests/evaluation/{name}.py"
    for name in ("adwin", "alterations", "rivals", "run", "scenarios", "thinner", "witness")
)


def fingerprint() -> str:
    """Of the code that outcomes depend on."""
    digest = hashlib.sha256()
    for place in (*_JUDGED, *_JUDGES):
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class Journal:
    """``path`` is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made_of = fingerprint()
        self._outcomes: dict[Job, Outcome] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            data = self._parsed(line)
            if data is not None and data.get("made_of") == self._made_of:
                outcome = Outcome.from_json(data["outcome"])
                self._outcomes[outcome.job] = outcome

    @staticmethod
    def _parsed(line: str) -> dict[str, Any] | None:
        try:
            return json.loads(line)  # type: ignore[no-any-return]
        except json.JSONDecodeError:
            return None  # the last line of one that was ended while it was written

    def write(self, outcome: Outcome) -> None:
        self._outcomes[outcome.job] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps({"made_of": self._made_of, "outcome": outcome.as_json()}) + "\n")

    def missing(self, jobs: Sequence[Job], *, rivals: frozenset[str]) -> list[Job]:
        """Those that were not carried out yet, beside all these rivals."""
        return [job for job in jobs if job not in self._outcomes or not rivals <= self._outcomes[job].rivals.keys()]

    def of(self, jobs: Sequence[Job]) -> list[Outcome]:
        return [self._outcomes[job] for job in jobs if job in self._outcomes]
