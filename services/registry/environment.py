"""What processes that look at sources are told by the environment."""

from __future__ import annotations

import os

_PREFIX = "PENSTOCK_"


def for_looks() -> dict[str, str]:
    """Our own environment without our settings, of which some are secret: libraries find credentials in the rest."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
