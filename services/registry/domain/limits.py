"""What a caller may write, and how much of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from services.common import model_paths
from services.common.errors import InvalidArgumentError

MAX_DESCRIPTION = 4096
MAX_LABELS = 64
MAX_LABEL = 63
MAX_METRICS = 1000
MAX_METRIC_NAME = 255
MAX_FILES = 4096
MAX_REASON = 4096
MAX_WORDS = 1024
MAX_PARENTS = 16
MAX_MANIFEST_BYTES = 65_536


def check_description(text: str) -> None:
    if len(text) > MAX_DESCRIPTION or "\0" in text:
        raise InvalidArgumentError(
            f"got a description of {len(text)} characters, expected at most {MAX_DESCRIPTION} and none of them NUL"
        )


def check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > MAX_LABELS:
        raise InvalidArgumentError(f"got {len(labels)} labels, expected at most {MAX_LABELS}")
    for key, value in labels.items():
        if not 0 < len(key) <= MAX_LABEL or len(value) > MAX_LABEL or "\0" in key + value:
            raise InvalidArgumentError(
                f"got label {key[:80]!r}={value[:80]!r}, expected a key of 1 to {MAX_LABEL} characters "
                f"and a value of at most {MAX_LABEL}, none of them NUL"
            )


def check_lineage(*, parents: Sequence[str], texts: Sequence[str], facts: Mapping[str, str]) -> None:
    if len(parents) > MAX_PARENTS or len(facts) > MAX_LABELS:
        raise InvalidArgumentError(
            f"got a lineage of {len(parents)} parents and {len(facts)} facts, "
            f"expected at most {MAX_PARENTS} and {MAX_LABELS}"
        )
    for key in facts:
        if not 0 < len(key) <= MAX_LABEL:
            raise InvalidArgumentError(f"got fact {key[:80]!r}, expected a name of 1 to {MAX_LABEL} characters")
    for text in (*texts, *facts, *facts.values()):
        if len(text) > MAX_WORDS or "\0" in text:
            raise InvalidArgumentError(
                f"got a lineage with a text of {len(text)} characters, expected at most {MAX_WORDS}, none of them NUL"
            )


def check_metrics(metrics: Mapping[str, float]) -> None:
    if len(metrics) > MAX_METRICS:
        raise InvalidArgumentError(f"got {len(metrics)} metrics, expected at most {MAX_METRICS}")
    for key, value in metrics.items():
        if not 0 < len(key) <= MAX_METRIC_NAME or "\0" in key or not math.isfinite(value):
            raise InvalidArgumentError(
                f"got metric {key[:80]!r}={value}, "
                f"expected a finite number under a name of 1 to {MAX_METRIC_NAME} characters"
            )


def check_paths(paths: Sequence[str]) -> None:
    """Check where a model's files lie: each in a place of its own."""
    if not 0 < len(paths) <= MAX_FILES:
        raise InvalidArgumentError(f"got {len(paths)} files, expected 1 to {MAX_FILES}")
    taken: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        model_paths.check(path)
        if path in taken:
            raise InvalidArgumentError(f"got two files with the path {path[:80]!r}, expected each path once")
        taken.add(path)
        folders.update(str(folder) for folder in PurePosixPath(path).parents)
    if both := taken & folders:
        raise InvalidArgumentError(f"got {min(both)[:80]!r} as a file and as a folder, expected one of them")


def check_manifest(manifest: Mapping[str, Any]) -> None:
    if (size := len(json.dumps(manifest))) > MAX_MANIFEST_BYTES:
        raise InvalidArgumentError(f"got a manifest of {size} bytes as JSON, expected at most {MAX_MANIFEST_BYTES}")


def check_reason(reason: str) -> None:
    """Check why somebody takes something back, for good."""
    if not 0 < len(reason.strip()) <= MAX_WORDS or "\0" in reason:
        raise InvalidArgumentError(
            f"got a reason of {len(reason)} characters, expected 1 to {MAX_WORDS} and none of them NUL"
        )


def shorten(reason: str) -> str:
    """An agent's words, cut rather than refused: they often carry a library's whole error text."""
    return reason.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_REASON]
