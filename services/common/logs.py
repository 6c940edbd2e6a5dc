"""Logs as one JSON object per line, with the field names of the Elastic Common Schema (ECS 8)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EcsFormatter(logging.Formatter):
    """Renders a record as ECS JSON; what was passed as ``extra=`` becomes fields, for example ``{"trace.id": …}``."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "message": record.getMessage(),
            "service.name": self._service,
            "log.logger": record.name,
            "process.pid": record.process,
        }
        fields.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            fields["error.stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


def configure(service: str, level: str) -> None:
    """Send all logging of this process to standard error, as ECS JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EcsFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The exporter logs each failed attempt; a monitor that is away is normal life and is seen in the metrics.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
