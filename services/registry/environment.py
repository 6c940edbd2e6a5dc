"""What the processes that look at sources, and write records, are told by the environment."""

from __future__ import annotations

import os

_PREFIX = "PENSTOCK_"
_DEFAULTS = {
    # By default MLflow repeats a call that fails for minutes; here the next look repeats it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DVC_NO_ANALYTICS": "true",
}


def for_helpers() -> dict[str, str]:
    """Our own environment without our settings, of which some are secret: libraries find credentials in the rest."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    return {**_DEFAULTS, **own}
