"""What the log of changes holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that somebody did. ``model`` is the id of the model that it is about, if it is about one."""

    sequence: int
    log_time_ns: int
    actor: str
    peer: str
    action: str
    resource: str
    model: str
    details: str
    previous_sha256: str
    sha256: str


def canonical(details: Mapping[str, Any]) -> str:
    """Details as JSON in the one form that is digested; what says nothing is left out."""
    told = {name: value for name, value in details.items() if value not in (None, "", [], {}, False)}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace(
        "\0", "\N{REPLACEMENT CHARACTER}"
    )
