"""Files of labels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import label_files
from penstock.feedback import label
from penstock.monitor.v1.feedback_service_pb2 import Label


def read(path: Path, text: str, **more: label_files.Kind) -> list[Label]:
    path.write_text(text)
    return list(label_files.read(path, "digits", **more))


def test_a_csv_has_a_heading_and_may_have_slices_metrics_rows_and_times(tmp_path: Path) -> None:
    found = read(
        tmp_path / "labels.csv",
        "request_id,label,row,time,slice.country,metric.bleu\n"
        "a,3,1,2026-01-02T03:04:05Z,de,0.5\n"
        "b,0.25,,,,\n"
        "c,cat,,,,\n",
    )

    assert [one.WhichOneof("truth") for one in found] == ["class_index", "number", "class_name"]
    first = found[0]
    assert (first.model, first.request_id, first.row, first.class_index) == ("digits", "a", 1, 3)
    assert first.label_time.ToDatetime(UTC) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (dict(first.slices), dict(first.metrics)) == ({"country": "de"}, {"bleu": 0.5})
    assert not found[1].HasField("label_time")


def test_json_lines_may_nest_slices(tmp_path: Path) -> None:
    found = read(
        tmp_path / "labels.jsonl",
        '{"id": "a", "class_name": "3", "slices": {"half": 1}}\n\n'
        '{"request_id": 7, "number": 2, "metrics": {"x": 1}}\n',
    )

    assert (found[0].class_name, dict(found[0].slices)) == ("3", {"half": "1"})
    assert (found[1].request_id, found[1].number, dict(found[1].metrics)) == ("7", 2.0, {"x": 1.0})


def test_labels_are_what_is_said_of_them(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    assert read(path, "id,label\na,3\n", kind="name")[0].class_name == "3"
    assert read(path, "id,label\na,3\n", kind="number")[0].number == 3.0
    with pytest.raises(ValueError, match="line 2: "):
        read(path, "id,label\na,cat\n", kind="class")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("labels.csv", "id,label\na,1,2\n", "more cells than headings"),
        ("labels.csv", "name,label\na,1\n", "line 2: there is no 'id'"),
        ("labels.jsonl", "{\n", "line 1: it is no JSON"),
        ("labels.jsonl", "[1]\n", "line 1: it is no object"),
        ("labels.jsonl", '{"id": "a", "label": [1]}\n', "line 1: got the label"),
        ("labels.jsonl", '{"id": "a", "label": 1, "time": "noon"}\n', "line 1: Invalid isoformat"),
    ],
)
def test_what_is_no_label_is_told_with_its_line(tmp_path: Path, name: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(tmp_path / name, text)


@given(text=st.text(max_size=200))
def test_any_text_is_labels_or_a_clear_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("labels")
    for name in ("labels.csv", "labels.jsonl"):
        path = folder / name
        path.write_bytes(text.encode("utf-8", "replace"))
        try:
            list(label_files.read(path, "digits"))
        except ValueError as error:
            assert str(error).startswith(name)  # noqa: PT017 - either outcome is right


def test_labels_in_python_go_by_their_type() -> None:
    assert label("m", "a", np.int64(3)).class_index == 3
    assert label("m", "a", "cat").class_name == "cat"
    assert label("m", "a", np.float32(0.5)).number == 0.5
    assert label("m", "a", metrics={"x": 1.0}).WhichOneof("truth") is None
