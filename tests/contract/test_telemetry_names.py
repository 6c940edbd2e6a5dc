"""docs/telemetry.md names what the services emit: everything, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ATTRIBUTE = re.compile(r"penstock(\.[a-z][a-z_]*)+")
METRIC = re.compile(r"(nv|penstock)(_[a-z0-9]+)+")
NO_ATTRIBUTES = {"penstock.dev", "penstock.access"}
"""Strings that look like one: our domain in google.rpc.ErrorInfo, and a logger."""


def documented(pattern: re.Pattern[str]) -> set[str]:
    quoted = re.findall(r"`([^`\s]+)`", (ROOT / "docs/telemetry.md").read_text())
    return {_plain(name) for name in quoted if pattern.fullmatch(name)}


def used(pattern: re.Pattern[str]) -> set[str]:
    """Names among the string literals of the services, docstrings left out."""
    return {
        _plain(node.value)
        for path in ROOT.glob("services/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and pattern.fullmatch(node.value)
    } - NO_ATTRIBUTES


def _plain(name: str) -> str:
    """Without ``_total``, which the Prometheus client appends to a counter's name where it is missing."""
    return name.removesuffix("_total")


@pytest.mark.parametrize("kind", [ATTRIBUTE, METRIC], ids=["attributes", "metrics"])
def test_names_are_those_of_the_list(kind: re.Pattern[str]) -> None:
    code, listed = used(kind), documented(kind)

    assert (sorted(code - listed), sorted(listed - code)) == ([], []), "(not documented), (documented but not made)"
