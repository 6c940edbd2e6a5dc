"""Find a Consul for the tests, or fetch one: ``make consul``.

One on the PATH is taken first. Else, on a machine with Debian's packages, that of its release bullseye (1.8.7, the
last one that Debian has) is downloaded and unpacked below the user's cache folder.
"""

from __future__ import annotations

import shutil
import sys

from tools import debian

RELEASE = "bullseye"
CACHE = debian.CACHE / "consul"
FETCHED = CACHE / "usr" / "bin" / "consul"


def main() -> None:
    try:
        found = find() or fetch()
    except (debian.FetchError, OSError) as error:
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
    debian.unpack("consul", release=RELEASE, into=CACHE)
    return str(FETCHED)


if __name__ == "__main__":
    main()
