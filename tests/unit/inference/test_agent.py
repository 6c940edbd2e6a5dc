"""The agent's background work."""

from __future__ import annotations

import asyncio

from services.inference.agent import repeat


async def test_repeating_ends_when_it_is_cancelled_together_with_a_wake_up() -> None:
    wake, acted = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        acted.set()

    repeating = asyncio.create_task(repeat(act, wake=wake, every_s=60))
    await acted.wait()
    await asyncio.sleep(0)

    wake.set()
    await asyncio.sleep(0)  # what waits for the event has ended, what waits for that has not heard of it
    repeating.cancel()

    await asyncio.wait([repeating], timeout=1)
    assert repeating.cancelled()
