"""Who takes away what dead processes left in shared memory."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from services.common.payloads import directory


async def keep_clean(root: Path = directory.ROOT) -> None:
    """Remove the directories of dead processes, again and again. Runs until cancelled.

    For the few processes that a host has one of: it takes some 20 µs for each directory, so that hundreds of model
    processes that all did so would keep a processor busy.
    """
    while True:
        await asyncio.sleep(directory.RESPITE_S)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(directory.remove_abandoned, root, respite_s=directory.RESPITE_S)
