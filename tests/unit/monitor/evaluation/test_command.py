from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from services.monitor.evaluation.command import app
from services.monitor.evaluation.spans import Span
from services.monitor.evaluation.trace_files import COLUMNS, TraceFileError, has_failed, read_spans
from tests.unit.monitor.evaluation.span_trees import Fault, Shop

RUN = CliRunner()
HOUR_NS = 3_600 * 10**9


def write_series(path: Path, values: list[str], *, header: str = "timestamp,value") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"2026-01-{1 + turn // 288:02d} {turn % 288 // 12:02d}:{turn % 12 * 5:02d}:00,{value}"
        for turn, value in enumerate(values)
    ]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def noise(count: int = 300) -> list[str]:
    return [f"{value:.4f}" for value in np.random.default_rng(1).normal(size=count)]


def test_every_row_is_written_with_its_score(tmp_path: Path) -> None:
    values = [*noise(400), "25.0"]
    source = write_series(tmp_path / "cpu.csv", values)

    result = RUN.invoke(app, ["series", str(source), "--out", str(tmp_path / "scores")])

    assert result.exit_code == 0, result.output
    rows = read(tmp_path / "scores" / "cpu.csv")
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score"]
    assert [row["value"] for row in rows] == values
    found = [float(row["anomaly_score"]) for row in rows]
    assert all(0 <= score <= 1 for score in found)
    assert found[-1] == max(found) > 0.5


def test_bad_rows_are_kept_counted_and_said(tmp_path: Path) -> None:
    values = noise()
    values[100:103] = ["", "nan", "many"]
    source = write_series(tmp_path / "a.csv", values)
    lines = source.read_text(encoding="utf-8").splitlines()
    lines[50] = "yesterday,1.0"
    lines[60] = lines[59]
    lines[70] = "2025-01-01 00:00:00,1.0"
    source.write_text("\n".join(lines), encoding="utf-8")

    result = RUN.invoke(app, ["series", str(source), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    rows = read(tmp_path / "out" / "a.csv")
    assert len(rows) == 300
    assert [row["anomaly_score"] for row in rows[100:103]] == ["0.000000000"] * 3
    said = " ".join(result.output.split())
    for part in (
        "2 × no value (first: line 102)",
        "1 × value that is no finite number (first: line 104)",
        "1 × stamp that can't be read (first: line 51)",
        "1 × repeated stamp (first: line 61)",
        "1 × stamp earlier than one before (first: line 71)",
    ):
        assert part in said


def test_strict_refuses_a_bad_row_and_leaves_no_scores(tmp_path: Path) -> None:
    bad = write_series(tmp_path / "bad.csv", ["1", "x", *noise(100)])
    good = write_series(tmp_path / "good.csv", noise(100))

    result = RUN.invoke(app, ["series", str(bad), str(good), "--out", str(tmp_path / "out"), "--strict"])

    assert result.exit_code == 1
    assert "line 3" in " ".join(result.output.split())
    assert not (tmp_path / "out" / "bad.csv").exists()
    assert len(read(tmp_path / "out" / "good.csv")) == 100
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.csv"]


def test_one_file_that_fails_half_way_keeps_no_other_from_being_scored(tmp_path: Path) -> None:
    rows = [*noise(100), '"' + "9" * 200_000 + '"']
    bad = write_series(tmp_path / "bad[/x].csv", rows)
    good = write_series(tmp_path / "good[1].csv", noise(100))

    result = RUN.invoke(app, ["series", str(bad), str(good), "--out", str(tmp_path / "out")])

    assert result.exit_code == 1
    said = "".join(result.output.split())
    assert "bad[/x].csv,line102:noCSV" in said
    assert "good[1].csv:100rows" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good[1].csv"]


@pytest.mark.parametrize(
    ("head", "rows"), [("2026-01-01,null", 11), ("2026-01-01,", 11), ("timestamp,0", 10), ("when,how much", 10)]
)
def test_a_header_is_told_from_a_row_without_a_value(tmp_path: Path, head: str, rows: int) -> None:
    source = write_series(tmp_path / "a.csv", noise(10), header=head)

    assert RUN.invoke(app, ["series", str(source), "--out", str(tmp_path / "out")]).exit_code == 0
    assert len(read(tmp_path / "out" / "a.csv")) == rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected timestamp,value"),
        ("timestamp\n1\n", "expected timestamp,value"),
        ("timestamp,value\n", "no rows"),
    ],
)
def test_what_is_no_series_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    source = tmp_path / "odd.csv"
    source.write_text(text, encoding="utf-8")

    result = RUN.invoke(app, ["series", str(source), "--out", str(tmp_path / "out")])

    assert result.exit_code == 1
    assert expected in " ".join(result.output.split())


def test_files_of_the_same_name_keep_their_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_series(tmp_path / "in" / folder / "x.csv", noise(50))

    assert RUN.invoke(app, ["series", str(tmp_path / "in"), "--out", str(tmp_path / "out")]).exit_code == 0
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.csv")) == [
        "a/x.csv",
        "b/x.csv",
    ]


def test_rows_of_several_channels_and_labels_that_are_not_read(tmp_path: Path) -> None:
    values = [f"{one},{float(one) * 2 + 1:.4f},0" for one in noise()]
    source = write_series(tmp_path / "m.csv", values, header="timestamp,v1,v2,is_anomaly")
    twin = write_series(tmp_path / "n.csv", [value[:-1] + "1" for value in values], header="timestamp,v1,v2,is_anomaly")

    result = RUN.invoke(app, ["series", str(source), str(twin), "--multivariate", "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert list(read(tmp_path / "out" / "m.csv")[0]) == ["timestamp", "v1", "v2", "anomaly_score"]
    assert read(tmp_path / "out" / "m.csv") == read(tmp_path / "out" / "n.csv")


def write_spans(path: Path, spans: list[Span]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in spans:
            status = "ERROR" if one.is_error else "OK"
            writer.writerow(
                [
                    one.trace_id,
                    one.span_id,
                    one.parent_id,
                    one.service,
                    one.operation,
                    one.replica,
                    one.start_ns,
                    one.duration_ns,
                    status,
                ]
            )
    return path


def write_otlp(path: Path, spans: list[Span], *, lines: bool) -> Path:
    documents = []
    for one in spans:
        attributes = [
            {"key": "service.name", "value": {"stringValue": one.service}},
            {"key": "service.instance.id", "value": {"stringValue": one.replica}},
        ]
        span = {
            "traceId": one.trace_id,
            "spanId": one.span_id,
            "parentSpanId": one.parent_id,
            "name": one.operation,
            "startTimeUnixNano": str(one.start_ns),
            "endTimeUnixNano": str(one.start_ns + one.duration_ns),
            "status": {"code": 2} if one.is_error else {},
        }
        documents.append({"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]})
    whole = {"resourceSpans": documents}
    halves = [{"resourceSpans": documents[: len(documents) // 2]}, {"resourceSpans": documents[len(documents) // 2 :]}]
    path.write_text("\n".join(map(json.dumps, halves)) if lines else json.dumps(whole, indent=1), encoding="utf-8")
    return path


def test_the_suspect_is_named_from_csv_with_a_reference_period(tmp_path: Path) -> None:
    start = 1_767_225_600 * 10**9
    spans = Shop(1).traces(200, start_ns=start)
    spans += Shop(2, Fault("slow", "database", replica="database-1")).traces(100, start_ns=start + HOUR_NS)
    source = write_spans(tmp_path / "spans.csv", spans)

    result = RUN.invoke(app, ["traces", str(source), "--reference-until", "2026-01-01T00:30:00Z", "--json"])

    assert result.exit_code == 0, result.output
    first = json.loads(result.stdout.splitlines()[0])
    assert (first["service"], first["operation"], first["replica"]) == ("database", "serve database", "database-1")
    assert first["reasons"][0].startswith("latency")
    assert 0 < first["score"] <= 1


@pytest.mark.parametrize("lines", [True, False])
def test_otlp_json_says_the_same_as_csv(tmp_path: Path, lines: bool) -> None:
    spans = Shop(3, Fault("errors", "payment", share=0.3)).traces(60)
    rows = write_spans(tmp_path / "spans.csv", spans)
    document = write_otlp(tmp_path / "spans.json", spans, lines=lines)
    reference = write_spans(tmp_path / "before.csv", Shop(4).traces(200))

    assert list(read_spans(document)) == list(read_spans(rows)) == spans
    out = tmp_path / "out.csv"
    result = RUN.invoke(app, ["traces", str(document), "--reference", str(reference), "--out", str(out)])

    assert result.exit_code == 0, result.output
    assert read(out)[0]["service"] == "payment"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", "expected trace_id, span_id"),
        (",".join(COLUMNS) + "\nt,s,,a,b,c,soon,5,OK\n", "line 2"),
        (",".join(COLUMNS) + "\nt,s,,a,b,c,1,-5,OK\n", "line 2"),
        ("{}", "resourceSpans"),
        ("{", "no JSON"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "a"}]}]}]}', "as OTLP says"),
        ('{"resourceSpans": 3}', "resourceSpans"),
    ],
)
def test_files_without_spans_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "odd"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(TraceFileError, match=expected):
        list(read_spans(path))
    result = RUN.invoke(app, ["traces", str(path), "--reference", str(path)])
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"{}"),
        "Caf\xe9,trace_id".encode("latin-1"),
        f"{','.join(COLUMNS)}\nt,s,,a,{'SELECT 1' * 20_000},c,1,5,OK\n".encode(),
    ],
    ids=["gzip", "another encoding", "a cell that is too long"],
)
def test_what_is_no_text_of_ours_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd[/x]"
    path.parent.mkdir()
    path.write_bytes(content)

    result = RUN.invoke(app, ["traces", str(path), "--reference", str(path)])

    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "odd[/x]" in "".join(result.output.split())


def test_empty_lines_before_json_are_none_of_it(tmp_path: Path) -> None:
    spans = Shop(3).traces(5)
    for lines in (True, False):
        path = write_otlp(tmp_path / "spans.json", spans, lines=lines)
        path.write_text("\n \n" + path.read_text(encoding="utf-8"), encoding="utf-8")
        assert list(read_spans(path)) == spans
    path.write_text("\n{}\n", encoding="utf-8")
    with pytest.raises(TraceFileError, match="line 2"):
        list(read_spans(path))


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    def renamed(spans: list[Span]) -> list[Span]:
        return [replace(one, operation=f"[/{one.service}]", replica="") for one in spans]

    before = write_spans(tmp_path / "before.csv", renamed(Shop(4).traces(200)))
    after = write_spans(tmp_path / "after.csv", renamed(Shop(3, Fault("errors", "payment", share=0.5)).traces(60)))

    result = RUN.invoke(app, ["traces", str(after), "--reference", str(before)], env={"COLUMNS": "200"})

    assert result.exit_code == 0, result.output
    assert "[/payment]" in result.output


def test_a_reference_is_needed() -> None:
    assert RUN.invoke(app, ["traces", "x.csv"]).exit_code == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("", False),
        ("OK", False),
        ("1", False),
        ("2", True),
        ("ERROR", True),
        ("STATUS_CODE_ERROR", True),
        ("200", False),
        ("404", False),
        ("503", True),
        ("14", True),
        ("0", False),
    ],
)
def test_statuses_of_all_conventions(status: str, expected: bool) -> None:
    assert has_failed(status) is expected
