"""Logs: a JSON object per line, with the field names of the Elastic Common Schema (ECS 8), or text for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from penstock import __version__

ECS_VERSION = "8.11.0"

LogFormat = Literal["ecs", "text"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ACCESS = "penstock.access"
"""The logger whose lines are a dataset of their own."""


class EcsFormatter(logging.Formatter):
    """Renders a record as ECS JSON; what was passed as ``extra=`` becomes fields, for example ``{"trace.id": …}``.

    The names of the fields are flat, with dots, as Elastic's loggers for other languages write them.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        dataset = "access" if record.name == _ACCESS else "log"
        fields: dict[str, Any] = {
            "@timestamp": _instant(record),
            "log.level": record.levelname.lower(),
            "message": record.getMessage(),
            "ecs.version": ECS_VERSION,
            "service.name": self._service,
            "service.version": __version__,
            "event.dataset": f"{self._service}.{dataset}",
            "log.logger": record.name,
            "process.pid": record.process,
        }
        fields.update(_extra(record))
        if record.exc_info and record.exc_info[0] is not None:
            fields.setdefault("error.type", record.exc_info[0].__qualname__)
            fields.setdefault("error.message", str(record.exc_info[1]))
            fields["error.stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Renders a record as a line for people, with fields that were passed as ``name=value``, and a traceback below."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_shown(value)}" for name, value in _extra(record))
        line = f"{_instant(record)} {record.levelname} {self._service} {record.name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in vars(record).items() if name not in _STANDARD)


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text.isprintable() else text


def configure(service: str, level: str, form: LogFormat = "ecs") -> None:
    """Send all logging of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EcsFormatter(service) if form == "ecs" else TextFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The exporter logs each failed attempt; a monitor that is away is normal life and is seen in the metrics.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
