"""Find a Prometheus and an Alertmanager for the tests, or fetch them: ``make prometheus``.

Those on the PATH are taken first. Else, on a machine with Debian's packages, those of its release bookworm are
downloaded and unpacked below the user's cache folder.
"""

from __future__ import annotations

import os
import shutil
import sys

from tools import debian

RELEASE = "bookworm"
_PACKAGES = {
    "prometheus": ("prometheus", "prometheus"),
    "promtool": ("prometheus", "promtool"),
    "alertmanager": ("prometheus-alertmanager", "prometheus-alertmanager"),
    "amtool": ("prometheus-alertmanager", "amtool"),
}
"""Debian's package and name of each program."""


def main() -> None:
    for program in _PACKAGES:
        try:
            sys.stdout.write(f"{find(program) or fetch(program)}\n")
        except (debian.FetchError, OSError) as error:
            sys.stderr.write(f"no {program} for the tests that need one, they will be skipped: {error}\n")


def find(program: str) -> str | None:
    """The executable, if there is one already."""
    package, name = _PACKAGES[program]
    fetched = debian.CACHE / package / "usr" / "bin" / name
    return shutil.which(program) or shutil.which(name) or (str(fetched) if fetched.is_file() else None)


def command(program: str) -> list[str] | None:
    """How to run it, if there is one already.

    Debian's Alertmanager reads its templates from ``/usr/share``: one that was merely unpacked sees its package's
    there, in a mount namespace of its own.
    """
    found = find(program)
    share = debian.CACHE / _PACKAGES[program][0] / "usr" / "share"
    if found is None or _PACKAGES[program][0] != "prometheus-alertmanager" or not found.startswith(str(debian.CACHE)):
        return [found] if found else None
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    return [*alone, "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', str(share), found]


def fetch(program: str) -> str:
    """Download and unpack one.

    Raises:
        FetchError: this machine has no Debian packages, or they can't be reached.
    """
    package, name = _PACKAGES[program]
    into = debian.CACHE / package
    debian.unpack(package, release=RELEASE, into=into)
    return str(into / "usr" / "bin" / name)


if __name__ == "__main__":
    main()
