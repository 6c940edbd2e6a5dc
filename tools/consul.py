"""Find a Consul for the tests, or fetch one: ``make consul``.

One on the PATH is taken first. Else, on a machine with Debian's packages, that of its release bullseye (1.8.7, the
last one that Debian has) is downloaded from where this machine gets its packages, and unpacked below the user's cache
folder; nothing is installed, and nobody need be root.
"""

# ruff: noqa: S603

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

RELEASE = "bullseye"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "penstock" / "consul"
FETCHED = CACHE / "usr" / "bin" / "consul"
_APT = Path("/etc/apt")
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_WITHIN_S = 240


class FetchError(Exception):
    """There is none to be had; the message says why."""


def main() -> None:
    try:
        found = find() or fetch()
    except (FetchError, OSError) as error:
        found = None
        sys.stderr.write(f"no Consul for the tests that need one, they will be skipped: {error}\n")
    sys.stdout.write(f"{found}\n" if found else "")


def find() -> str | None:
    """The executable, if there is one already."""
    return shutil.which("consul") or (str(FETCHED) if FETCHED.is_file() else None)


def fetch() -> str:
    """Download and unpack one.

    Raises:
        FetchError: this machine has no Debian packages, or they can't be reached.
    """
    if missing := [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]:
        raise FetchError(f"it is not on the PATH, and there is no {missing[0]} to fetch it with")
    source = next(_sources(), None)
    if source is None:
        raise FetchError("it is not on the PATH, and apt has no source of Debian packages")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as name:
        folder = Path(name)
        for own in ("lists/partial", "cache/archives/partial", "unpacked"):
            (folder / own).mkdir(parents=True)
        signed = f"[signed-by={_KEYS}] " if _KEYS.is_file() else ""
        (folder / "sources.list").write_text(f"deb {signed}{source} {RELEASE} main\n")
        for words in (["update"], ["download", "consul"]):
            _run(["apt-get", *_options(folder), *words], folder)
        (package,) = folder.glob("consul_*.deb")
        _run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], folder)
        shutil.rmtree(CACHE, ignore_errors=True)
        (folder / "unpacked").rename(CACHE)
    return str(FETCHED)


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


if __name__ == "__main__":
    main()
