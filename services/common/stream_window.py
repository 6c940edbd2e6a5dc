"""How far a model process may be ahead of the caller of a stream; its gateway tells how far that one has come.

Both must agree: what may go unreported is less than a window, so that nobody waits for ever.
"""

from __future__ import annotations

RESPONSES, BYTES = 64, 1 << 20
"""The next response is made while fewer, and fewer bytes, are on their way: one may be larger than that."""

UNREPORTED_RESPONSES, UNREPORTED_BYTES = 16, 1 << 18
"""When so many were passed on since the last word about it, the gateway says how many there were."""
