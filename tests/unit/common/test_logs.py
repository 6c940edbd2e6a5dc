from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any

import pytest

from services.common.logs import EcsFormatter


def formatted(record: logging.LogRecord) -> dict[str, Any]:
    text = EcsFormatter("penstock-gateway").format(record)
    assert "\n" not in text
    return json.loads(text)


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "services.x", "levelno": 30, "levelname": "WARNING", "msg": message})
    made.args = arguments
    vars(made).update(fields)
    return made


def test_a_record_becomes_one_line_with_the_names_of_ecs() -> None:
    fields = formatted(record("lost %d of %s", 3, "digits"))

    assert datetime.fromisoformat(fields.pop("@timestamp")).tzinfo is not None
    assert fields == {
        "log.level": "warning",
        "message": "lost 3 of digits",
        "service.name": "penstock-gateway",
        "log.logger": "services.x",
        "process.pid": pytest.approx(fields["process.pid"]),
    }


def test_extra_fields_are_kept() -> None:
    assert formatted(record("x", **{"trace.id": "ab", "count": 3}))["trace.id"] == "ab"


def test_whatever_json_does_not_know_becomes_text() -> None:
    assert formatted(record("x", where=ValueError("there")))["where"] == "there"


def test_text_stays_on_one_line_and_readable() -> None:
    assert formatted(record("two\nlines, größer"))["message"] == "two\nlines, größer"


def test_an_exception_comes_with_its_traceback() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        fields = formatted(record("failed", exc_info=sys.exc_info()))

    assert fields["error.stack_trace"].startswith("Traceback")
    assert fields["error.stack_trace"].endswith("ValueError: odd")
