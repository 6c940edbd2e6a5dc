"""What a caller may write; etags and masks."""

from __future__ import annotations

import pytest

from services.common.errors import AbortedError, InvalidArgumentError
from services.registry.domain import etags, limits, masks
from services.registry.domain.resources import Model

PRESENT = Model(id="m", description="old", labels={"a": "1"})
WANTED = Model(id="m", description="new", labels={"b": "2"})


def test_limits_are_met_exactly() -> None:
    limits.check_description("ü" * 4096)
    limits.check_labels({f"{number:063}": "v" * 63 for number in range(64)})
    limits.check_paths(["ü" * 127 + "x", "/".join(["a" * 255] * 4)])
    limits.check_paths([f"{number}/model.onnx" for number in range(4096)])
    limits.check_metrics({"accuracy": 1e308, "loss": -0.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_is_a_number(value: float) -> None:
    with pytest.raises(InvalidArgumentError, match="finite"):
        limits.check_metrics({"loss": value})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "a/",
        ".",
        "..",
        "a/../b",
        "./a",
        "a\0",
        "a\n",
        "C:a",
        "a\\b",
        "ü" * 128,
        "a/" * 512 + "a",
    ],
)
def test_a_path_stays_within_the_model(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="path"):
        limits.check_paths(["model.onnx", path])


@pytest.mark.parametrize("paths", [["a", "b", "a"], ["a", "a/b"], ["a/b/c", "a/b"]])
def test_each_file_has_a_place_of_its_own(paths: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="'a"):
        limits.check_paths(paths)


@pytest.mark.parametrize("count", [0, 4097])
def test_the_number_of_files_is_bounded(count: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"got {count} files"):
        limits.check_paths([str(number) for number in range(count)])


def test_etags_differ_by_revision() -> None:
    assert len({etags.of_revision(revision) for revision in range(1000)}) == 1000


def test_an_etag_is_checked_where_one_is_given() -> None:
    etags.check("models/m", present="1", given="")
    etags.check("models/m", present="1", given="1")
    with pytest.raises(AbortedError, match="models/m"):
        etags.check("models/m", present="1", given="2")


@pytest.mark.parametrize(
    ("paths", "description", "labels"),
    [
        ([], "new", {"b": "2"}),
        (["*"], "new", {"b": "2"}),
        (["description"], "new", {"a": "1"}),
        (["labels", "labels"], "old", {"b": "2"}),
    ],
)
def test_a_mask_says_what_changes(paths: list[str], description: str, labels: dict[str, str]) -> None:
    merged = masks.merge(PRESENT, WANTED, paths=paths, allowed=masks.MODEL_FIELDS)

    assert (merged.description, merged.labels) == (description, labels)


@pytest.mark.parametrize("path", ["name", "labels.a", "etag", "", "*"])
def test_a_mask_says_nothing_else(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="update_mask"):
        masks.merge(PRESENT, WANTED, paths=["labels", path], allowed=masks.MODEL_FIELDS)
