"""Reads spans from OTLP JSON (``resourceSpans``, one document or one a line) and from CSV rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from services.monitor.evaluation.spans import Span

COLUMNS = ("trace_id", "span_id", "parent_id", "service", "operation", "replica", "start_ns", "duration_ns", "status")
_ROOTS = frozenset({"", "root", "none", "null", "nan", "0", "0000000000000000"})
_ERRORS = frozenset({"error", "status_code_error", "fail", "failed", "failure", "true"})
_REPLICA_KEYS = ("service.instance.id", "k8s.pod.name", "container.id", "host.name")


class TraceFileError(ValueError):
    """A file isn't what ``penstock-eval traces`` reads; the message says where and what was expected."""


def read_spans(path: Path) -> Iterator[Span]:
    """Raises TraceFileError, naming the file and, where one is at fault, the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            file.seek(0)
            yield from _read_json(path, file) if first in {"{", "["} else _read_csv(path, file)
    except UnicodeDecodeError as error:
        raise TraceFileError(f"{path}: no UTF-8 text ({error}), expected OTLP JSON or CSV rows") from None


def has_failed(status: str) -> bool:
    """Whether a status says failure: OTLP's 2 or ERROR, a gRPC code from 2 on (OTLP's 1 is OK), HTTP's from 500 on."""
    text = status.strip().lower()
    if text.removesuffix(".0").isdigit():
        number = int(text.removesuffix(".0"))
        return 2 <= number < 100 or number >= 500
    return text in _ERRORS


def _read_csv(path: Path, file: TextIO) -> Iterator[Span]:
    rows = csv.DictReader(file)
    try:
        yield from _of_rows(path, rows)
    except csv.Error as error:
        raise TraceFileError(f"{path}, line {rows.line_num}: no CSV ({error})") from None


def _of_rows(path: Path, rows: csv.DictReader[str]) -> Iterator[Span]:
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or [])]
    if missing:
        raise TraceFileError(
            f"{path}: got columns {', '.join(rows.fieldnames or []) or 'none'}, expected {', '.join(COLUMNS)}"
        )
    for row in rows:
        try:
            start_ns, duration_ns = (int(float(row[name]) if "." in row[name] else row[name]) for name in COLUMNS[6:8])
        except (TypeError, ValueError, OverflowError):
            raise TraceFileError(
                f"{path}, line {rows.line_num}: start_ns {row['start_ns']!r} and duration_ns {row['duration_ns']!r}, "
                "expected two integers"
            ) from None
        if not row["trace_id"] or not row["span_id"] or duration_ns < 0:
            raise TraceFileError(
                f"{path}, line {rows.line_num}: trace {row['trace_id']!r}, span {row['span_id']!r}, "
                f"duration {duration_ns} ns; expected two ids and a duration that isn't negative"
            )
        parent = row["parent_id"] or ""
        yield Span(
            row["trace_id"],
            row["span_id"],
            "" if parent.lower() in _ROOTS else parent,
            row["service"] or "",
            row["operation"] or "",
            row["replica"] or "",
            start_ns,
            duration_ns,
            has_failed(row["status"] or ""),
        )


def _read_json(path: Path, file: TextIO) -> Iterator[Span]:
    """One document a line, as the OpenTelemetry collector writes them, or one over several lines."""
    first, head = 1, file.readline()
    while head.isspace():
        first, head = first + 1, file.readline()
    try:
        documents: Iterator[tuple[int, Any]] = iter([(first, json.loads(head))])
        more: Iterator[tuple[int, Any]] = _lines(path, file, begin=first + 1)
    except ValueError:
        try:
            documents, more = iter([(first, json.loads(head + file.read()))]), iter(())
        except ValueError as error:
            raise TraceFileError(f"{path}: no JSON ({error}), expected OTLP JSON with resourceSpans") from None
    for source in (documents, more):
        for line, document in source:
            for one in document if isinstance(document, list) else [document]:
                yield from _of_document(path, line, one)


def _lines(path: Path, file: TextIO, *, begin: int) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(file, start=begin):
        if text.strip():
            try:
                yield line, json.loads(text)
            except ValueError as error:
                raise TraceFileError(f"{path}, line {line}: no JSON ({error})") from None


def _of_document(path: Path, line: int, document: Any) -> Iterator[Span]:
    where = f"{path}, document at line {line}"
    if not isinstance(document, Mapping) or not isinstance(document.get("resourceSpans"), list):
        raise TraceFileError(f"{where}: no list resourceSpans in it, expected OTLP JSON")
    try:
        for group in document["resourceSpans"]:
            resource = _attributes(group.get("resource", {}))
            replica = next((resource[key] for key in _REPLICA_KEYS if resource.get(key)), "")
            for scope in group.get("scopeSpans", group.get("instrumentationLibrarySpans", [])):
                for span in scope.get("spans", []):
                    yield _of_json(span, service=resource.get("service.name", ""), replica=replica)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TraceFileError(f"{where}: a span isn't as OTLP says ({type(error).__name__}: {error})") from None


def _of_json(span: Mapping[str, Any], *, service: str, replica: str) -> Span:
    start_ns, end_ns = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    parent = str(span.get("parentSpanId") or "")
    status = span.get("status") or {}
    return Span(
        str(span["traceId"]),
        str(span["spanId"]),
        "" if parent.lower() in _ROOTS else parent,
        service,
        str(span.get("name", "")),
        replica,
        start_ns,
        max(0, end_ns - start_ns),
        has_failed(str(status.get("code", ""))),
    )


def _attributes(holder: Mapping[str, Any]) -> dict[str, str]:
    return {str(one["key"]): str(next(iter(one.get("value", {}).values()), "")) for one in holder.get("attributes", [])}
