"""The lock is whole: what pyproject.toml asks for is pinned, and each pin is a name, a version, a marker and hashes."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tools.lock import EXTRAS, HEAD, LOCK, PINNED, ROOT, TORCH_LOCK, requirements

PINS = re.split(r"^(?=[a-zA-Z0-9])", LOCK.read_text().removeprefix(HEAD), flags=re.MULTILINE)[1:]


def asked_for() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted({*project["dependencies"], *(one for extra in EXTRAS for one in requirements(project, extra))})


def test_the_lock_is_as_make_lock_writes_it() -> None:
    assert LOCK.read_text().startswith(HEAD)
    assert [text for text in PINS if not PINNED.fullmatch(text)] == []
    assert [text.partition("==")[0] for text in PINS] == sorted(text.partition("==")[0] for text in PINS)


@pytest.mark.parametrize("wanted", asked_for())
def test_what_is_asked_for_is_pinned(wanted: str) -> None:
    requirement = Requirement(wanted)
    lines = [TORCH_LOCK.read_text().strip(), *(text.partition("\\")[0].strip() for text in PINS)]
    pins = {one.name: one for one in map(Requirement, lines)}
    pin = pins[requirement.name.replace("_", "-").lower()]
    (version,) = pin.specifier
    assert requirement.specifier.contains(version.version)
    assert pin.marker == requirement.marker
