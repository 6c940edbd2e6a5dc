"""What must not be in any tracked file: traces of the machine on which it was written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

REGISTRY = re.compile(
    r":/{2}[\w.-]*(pypi|pythonhosted|devpi|artifactory|nexus|npmjs|rubygems|crates)\b[\w.-]*[:/]", re.IGNORECASE
)
INDEX_OPTION = re.compile(r"^\s*--(extra-)?index-url|^\s*--(trusted-host|find-links)", re.MULTILINE)
FOLDER = re.compile(r"(?<![\w.$~})*-])/(?:home|Users|root|work|workspace)/\w")


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}" for match in pattern.finditer(text)
        ]
    return found


@pytest.mark.parametrize("pattern", [REGISTRY, INDEX_OPTION, FOLDER], ids=["registry", "index option", "folder"])
def test_no_file_names_a_place_of_its_authors(pattern: re.Pattern[str]) -> None:
    assert lines_with(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REGISTRY, "https:" + "//pypi.example/simple/"),
        (REGISTRY, "http:" + "//mirror.pythonhosted.example:8080/x"),
        (INDEX_OPTION, "--index" + "-url https://example.org"),
        (FOLDER, "see " + "/home" + "/anna/x"),
        (FOLDER, '"' + "/work" + "/x"),
    ],
)
def test_a_pattern_catches_what_it_is_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize(
    "text", ["$HOME/x", "~/workspace/x", "models/" + "root/x", "https://example.org/home/x", "{folder}/workspace/x"]
)
def test_a_path_of_nobody_passes(text: str) -> None:
    assert not FOLDER.search(text)
