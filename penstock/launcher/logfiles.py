"""Children's logs: every line to a file, warnings to whoever watches."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.common.logs import ECS_VERSION

_WARNINGS = frozenset({"warning", "error", "critical"})
_KEPT = 3
_BURST, _WINDOW_S = 10, 5.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a service wrote, ready to be shown."""

    service: str
    level: str
    message: str


class ServiceLog:
    """One service's log file, ``<service>.jsonl``; past ``max_bytes`` it moves to ``.1``, that to ``.2``, and so on.

    Warnings are handed to ``on_warning``, at most ten in five seconds. What is no JSON object (a traceback, a line of
    redis-server) becomes one, and the last of these are kept in ``last_words``. While the file can't be written to,
    lines are lost, and nothing else.
    """

    def __init__(
        self, folder: Path, service: str, *, on_warning: Callable[[LogLine], None], max_bytes: int = 10_000_000
    ) -> None:
        self.path = folder / f"{service}.jsonl"
        self.last_words: deque[str] = deque(maxlen=12)
        self._service = service
        self._on_warning = on_warning
        self._max_bytes = max_bytes
        self._window_start, self._in_window = 0.0, 0
        self._is_writable = True
        self._file = self.path.open("ab", buffering=0)

    def take(self, line: str) -> None:
        """Write a line; show it when it is a warning."""
        fields = _parsed(line)
        if fields is None:
            self.last_words.append(line)
            line = json.dumps(_wrapped(self._service, line), ensure_ascii=False)
        elif (level := str(fields.get("log.level", "")).lower()) in _WARNINGS:
            self._warn(level, fields)
        self._write(line)

    def last_complaint(self) -> str:
        """Of the last words, the ones most likely to say what went wrong; empty when there are none."""
        complaints = [line for line in self.last_words if "rror" in line]
        return (complaints or [*self.last_words, ""])[-1].strip(" |")

    def _warn(self, level: str, fields: dict[str, Any]) -> None:
        message = str(fields.get("message", ""))
        if stack := str(fields.get("error.stack_trace", "")).strip():
            message += f" ({stack.splitlines()[-1].strip()})"
        self.last_words.append(message)
        now = time.monotonic()
        if now - self._window_start > _WINDOW_S:
            self._window_start, self._in_window = now, 0
        self._in_window += 1
        if self._in_window <= _BURST:
            self._on_warning(LogLine(self._service, level, message))
        elif self._in_window == _BURST + 1:
            self._on_warning(LogLine(self._service, level, f"more warnings follow in {self.path}"))

    def _write(self, line: str) -> None:
        try:
            self._file.write(f"{line}\n".encode("utf-8", "replace"))
            if self._file.tell() > self._max_bytes:
                self._rotate()
        except (OSError, ValueError) as error:  # a full disk; a file that could not be opened again
            if self._is_writable:
                why = getattr(error, "strerror", None) or error
                self._on_warning(LogLine(self._service, "warning", f"log lines are lost: {self.path}: {why}"))
            self._is_writable = False
        else:
            self._is_writable = True

    def _rotate(self) -> None:
        self._file.close()
        for number in range(_KEPT - 1, 0, -1):
            older = self.path.with_suffix(f".jsonl.{number}")
            if older.exists():
                older.replace(self.path.with_suffix(f".jsonl.{number + 1}"))
        self.path.replace(self.path.with_suffix(".jsonl.1"))
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()


def _parsed(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _wrapped(service: str, line: str) -> dict[str, str]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "@timestamp": now,
        "log.level": "info",
        "message": line,
        "ecs.version": ECS_VERSION,
        "service.name": service,
        "event.dataset": f"{service}.output",
    }
