"""Identities of spans (W3C Trace Context)."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

# Version 00 ends with the flags; later versions may go on.
_TRACEPARENT = re.compile(r"(?!ff|00-.{52}-)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_random_bits = random.getrandbits  # as OpenTelemetry does: ids need not be secret, and os.urandom is a system call


class TraceContext(NamedTuple):
    """Identity of a span: 16-byte trace id, 8-byte span id, and whether it is exported."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool

    @classmethod
    def new_root(cls, *, is_sampled: bool) -> TraceContext:
        """A span that begins a trace of its own."""
        ids = _random_bits(192).to_bytes(24, "big")
        return cls(ids[:16], ids[16:], is_sampled)

    def child(self) -> TraceContext:
        """A new span in the same trace."""
        return TraceContext(self.trace_id, _random_bits(64).to_bytes(8, "big"), self.is_sampled)

    @classmethod
    def parse(cls, traceparent: str) -> TraceContext | None:
        """Read a ``traceparent`` header; None when it is malformed, as W3C Trace Context asks."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return None
        trace_id, span_id = bytes.fromhex(match[1]), bytes.fromhex(match[2])
        if not any(trace_id) or not any(span_id):
            return None
        return cls(trace_id, span_id, bool(int(match[3], 16) & 1))

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{'01' if self.is_sampled else '00'}"
