"""Results, line by line, so that a long run can be interrupted and continued."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.repetition import Repetition


class Journal:
    """``results.jsonl`` in a folder: one line for each repetition, and one for the machine of each sitting."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "results.jsonl"
        self.sittings: list[dict[str, Any]] = []
        self.repetitions: list[Repetition] = []
        text = self.path.read_text() if self.path.exists() else ""
        self._begins_line = not text or text.endswith("\n")
        for line in text.splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                continue  # the line at which the machine was switched off
            if "machine" in content:
                self.sittings.append(content)
            else:
                self.repetitions.append(Repetition.from_json(content))

    @staticmethod
    def put_aside(folder: Path) -> None:
        """Give what there is another name, so that a journal made now is empty."""
        path = folder / "results.jsonl"
        if path.exists():
            path.rename(path.with_name(f"results-{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"))

    def begin(self, sitting: dict[str, Any]) -> None:
        """Note where and with what the following repetitions were made."""
        self.sittings.append(sitting)
        self._append(sitting)

    def add(self, repetition: Repetition) -> None:
        self.repetitions.append(repetition)
        self._append(repetition.as_json())

    def of(self, fault: str) -> Sequence[Repetition]:
        """A fault's repetitions that were carried out, or failed in that."""
        return [one for one in self.repetitions if one.fault == fault and not one.skipped]

    def why_skipped(self, fault: str) -> str:
        """The last reason for which a fault was not tried; empty if there is none."""
        return next((one.skipped for one in reversed(self.repetitions) if one.fault == fault and one.skipped), "")

    def _append(self, content: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(("" if self._begins_line else "\n") + json.dumps(content) + "\n")
        self._begins_line = True
