"""Has results written to MLflow or TensorBoard whenever a rollout has ended, by a process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from services.common.errors import PenstockError
from services.registry.adapters import rollout_rows
from services.registry.adapters.database import Database
from services.registry.lease import Lease

_log = logging.getLogger(__name__)

_LOOK_S = 2.0
_AGAIN_S = 60.0
"""After how long records that could not be written are tried again."""
_LIMIT_S = 600.0


class Exporter(Protocol):
    """Writes all records that aren't written yet."""

    async def export(self, target: str, *, limit_s: float) -> str:
        """Write to one target. Returns why that failed, or nothing."""
        ...


class Recorder:
    """Follows the rollouts in the registry that writes. What is written already is known by the targets themselves."""

    def __init__(self, database: Database, lease: Lease, *, exporter: Exporter, targets: Sequence[str]) -> None:
        self._database = database
        self._lease = lease
        self._exporter = exporter
        self._targets = targets

    async def run(self) -> None:
        """Write records for ever."""
        written: frozenset[tuple[str, int, int]] = frozenset()
        while True:
            pause_s = _LOOK_S
            try:
                if self._targets and self._lease.is_writer:
                    ended = await self._database.read(rollout_rows.list_ended)
                    if ended != written:
                        is_done = await self._write()
                        written, pause_s = (ended, _LOOK_S) if is_done else (written, _AGAIN_S)
            except PenstockError as error:
                _log.warning("records are written later: %s", error)
            await asyncio.sleep(pause_s)

    async def _write(self) -> bool:
        failures = [await self._exporter.export(target, limit_s=_LIMIT_S) for target in self._targets]
        for target, failure in zip(self._targets, failures, strict=True):
            if failure:
                _log.warning("records could not be written to %s, it is tried again: %s", target, failure)
        return not any(failures)
