from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any

import pytest

from penstock import __version__
from services.common.logs import EcsFormatter, TextFormatter


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
        "ecs.version": "8.11.0",
        "service.name": "penstock-gateway",
        "service.version": __version__,
        "event.dataset": "penstock-gateway.log",
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

    assert (fields["error.type"], fields["error.message"]) == ("ValueError", "odd")
    assert fields["error.stack_trace"].startswith("Traceback")
    assert fields["error.stack_trace"].endswith("ValueError: odd")


def test_a_field_that_was_passed_is_not_replaced_by_the_exceptions() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        fields = formatted(record("failed", exc_info=sys.exc_info(), **{"error.type": "QUEUE_FULL"}))

    assert fields["error.type"] == "QUEUE_FULL"


def test_lines_of_requests_are_a_dataset_of_their_own() -> None:
    made = record("ModelInfer OK")
    made.name = "penstock.access"

    assert formatted(made)["event.dataset"] == "penstock-gateway.access"


TYPES = {
    "@timestamp": str, "log.level": str, "message": str, "ecs.version": str, "log.logger": str, "process.pid": int,
    "service.name": str, "service.version": str, "event.dataset": str, "event.kind": str, "event.id": str,
    "event.action": str, "event.outcome": str, "event.duration": int, "trace.id": str, "span.id": str, "labels": dict,
    "error.type": str, "error.message": str, "error.stack_trace": str, "error.id": str,
}  # fmt: skip
"""The fields of the Elastic Common Schema that are written, with their types there (keyword and text are str)."""


def check_line(line: str) -> None:
    """What Elastic asks of ECS loggers: the first three fields in this order, flat names, flat labels, right types."""
    fields = json.loads(line)
    assert list(fields)[:3] == ["@timestamp", "log.level", "message"]
    assert fields["@timestamp"].endswith(("Z", "+00:00"))
    assert fields["ecs.version"].startswith("8.")
    for name, value in fields.items():
        if name in TYPES:
            assert isinstance(value, TYPES[name]), name
        else:
            assert name.startswith(("penstock.", "rpc.", "http.", "url.")), f"{name} is in no namespace of ours"
    for name, value in fields.get("labels", {}).items():
        assert not set(name) & set(".*\\"), name
        assert isinstance(value, (str, int, float, bool)), name


def test_lines_are_what_elastic_asks_of_loggers() -> None:
    line = record("x", **{"trace.id": "ab", "labels": {"model": "m"}, "penstock.model.name": "m", "event.duration": 3})

    check_line(EcsFormatter("penstock-gateway").format(line))


def test_text_is_one_line_for_people_with_what_was_passed() -> None:
    text = TextFormatter("penstock-gateway").format(record("lost %d", 3, **{"trace.id": "ab", "error.message": "a b"}))

    assert text.endswith(' WARNING penstock-gateway services.x: lost 3 trace.id=ab error.message="a b"')
    assert "\n" not in text


def test_text_has_a_traceback_below_it() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        text = TextFormatter("penstock-gateway").format(record("failed", exc_info=sys.exc_info()))

    assert text.splitlines()[1].startswith("Traceback")
    assert text.endswith("ValueError: odd")
