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
    for package in dict.fromkeys(package for package, _ in _PACKAGES.values()):
        programs = [program for program, (owner, _) in _PACKAGES.items() if owner == package]
        try:
            if not all(map(find, programs)):
                debian.unpack(package, release=RELEASE, into=debian.CACHE / package)
        except (debian.FetchError, OSError) as error:
            missing = " and ".join(program for program in programs if not find(program))
            sys.stderr.write(f"no {missing} for the tests that need one, they will be skipped: {error}\n")
        sys.stdout.writelines(f"{found}\n" for found in map(find, programs) if found)


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


if __name__ == "__main__":
    main()
