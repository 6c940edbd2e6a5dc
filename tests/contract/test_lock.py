"""The lock is whole: what pyproject.toml asks for is pinned, and each pin is a name, a version, a marker and hashes."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lock import EXTRAS, HEAD, LOCK, PINNED, ROOT, TORCH_LOCK, requirements

PINS = re.split(r"^(?=[a-zA-Z0-9])", LOCK.read_text().removeprefix(HEAD), flags=re.MULTILINE)[1:]
REQUIREMENTS = [Requirement(text.partition("\\")[0].strip()) for text in PINS]


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
    pins = {one.name: one for one in (Requirement(TORCH_LOCK.read_text().strip()), *REQUIREMENTS)}
    pin = pins[canonicalize_name(requirement.name)]
    (version,) = pin.specifier
    assert requirement.specifier.contains(version.version)
    assert pin.marker == requirement.marker


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_what_pinned_packages_need_is_pinned_for_each_python(python: str) -> None:
    """pip takes nothing else once it has hashes; it was 3.11.2 itself, Debian's, that once had a package too few."""
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    pinned = {one.name for one in REQUIREMENTS if one.marker is None or one.marker.evaluate(environment)}
    missing = {
        f"{needed} for {name}"
        for name in pinned
        for needed in map(Requirement, requires(name))
        if (needed.marker is None or needed.marker.evaluate(environment))
        and canonicalize_name(needed.name) not in pinned
    }
    assert not missing


def requires(package: str) -> list[str]:
    try:
        return importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:  # pinned for another Python or platform
        return []
