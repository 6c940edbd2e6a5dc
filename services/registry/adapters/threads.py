"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in(executor: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread.

    A cancelled caller gets away at once while the work has not begun; once it has, the cancellation is raised when
    the work has ended, so that nothing is pulled from under it.
    """
    source = executor.submit(work, *args, **kwargs)
    future = asyncio.wrap_future(source)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        source.cancel()
        while not future.done():
            # A process that ends cancels twice; the first cancellation is raised below all the same.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # nobody is left to hear of it
        raise
