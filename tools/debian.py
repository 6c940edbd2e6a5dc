"""Programs from Debian's packages for the tests: downloaded from where this machine gets its own, and unpacked.

Nothing is installed, and nobody need be root.
"""

# ruff: noqa: S603

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "penstock"
_APT = Path("/etc/apt")
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_WITHIN_S = 240


class FetchError(Exception):
    """There is none to be had; the message says why."""


def unpack(package: str, *, release: str, into: Path) -> None:
    """Download a package of a release of Debian's, and unpack it in place of what ``into`` holds.

    Raises:
        FetchError: this machine has no Debian packages, or they can't be reached.
    """
    if missing := [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]:
        raise FetchError(f"it is not on the PATH, and there is no {missing[0]} to fetch it with")
    source = next(_sources(), None)
    if source is None:
        raise FetchError("it is not on the PATH, and apt has no source of Debian packages")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as name:
        folder = Path(name)
        for own in ("lists/partial", "cache/archives/partial", "unpacked"):
            (folder / own).mkdir(parents=True)
        signed = f"[signed-by={_KEYS}] " if _KEYS.is_file() else ""
        (folder / "sources.list").write_text(f"deb {signed}{source} {release} main\n")
        for words in (["update"], ["download", package]):
            _run(["apt-get", *_options(folder), *words], folder)
        (found,) = folder.glob(f"{package}_*.deb")
        _run(["dpkg-deb", "-x", str(found), str(folder / "unpacked")], folder)
        shutil.rmtree(into, ignore_errors=True)
        (folder / "unpacked").rename(into)


def _sources() -> Iterator[str]:
    """Where this machine gets Debian's main packages, in both of apt's notations."""
    for path in (_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(errors="replace")
            yield from re.findall(r"^deb (?:\[[^\]]*\] )?(\S+/debian)/? \S+ .*\bmain\b", text, re.MULTILINE)
            yield from re.findall(r"^URIs: *(\S+/debian)/?$", text, re.MULTILINE)


def _options(folder: Path) -> list[str]:
    """Folders of our own for apt, so that it neither needs to be root nor changes anything."""
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": 1,
        "Acquire::http::Timeout": 10,
        "Acquire::https::Timeout": 10,
        "Acquire::Check-Valid-Until": "false",
        "APT::Update::Error-Mode": "any",
    }
    return ["-q", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"{command[0]} took longer than {_WITHIN_S} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
        raise FetchError(f"{command[0]} failed: {said[0] if said else done.stderr[-200:]}")
