"""The environment of what is run to retrain: told by name what it may see of the monitor's own."""

from __future__ import annotations

import os
from collections.abc import Iterable

_COMMON = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"),
    *("VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""What programs need to find others, their files and their language. No secret is among them."""


def command_environment(passed_on: Iterable[str] = ()) -> dict[str, str]:
    """The common variables, and those that a policy names."""
    return {name: os.environ[name] for name in (*_COMMON, *passed_on) if name in os.environ}
