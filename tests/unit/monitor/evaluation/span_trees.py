"""A shop of seven services whose spans are made up, with faults injected where the test says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.monitor.evaluation.spans import Span

CALLS: dict[str, list[str]] = {
    "frontend": ["catalog", "cart", "checkout"],
    "catalog": ["database"],
    "cart": ["cache"],
    "checkout": ["cart", "payment"],
    "payment": [],
    "database": [],
    "cache": [],
}
REPLICAS = {"catalog": 3, "cart": 2, "database": 2}
OWN_MS = {"frontend": 5, "catalog": 4, "cart": 2, "checkout": 6, "payment": 8, "database": 3, "cache": 1}
SERVICES = sorted(CALLS)


@dataclass(frozen=True)
class Fault:
    """``kind``: slow, errors, early return (its calls are left out) or dead (callers get no answer)."""

    kind: str
    service: str
    replica: str | None = None
    share: float = 1.0
    factor: float = 4.0


class Shop:
    def __init__(self, seed: int, fault: Fault | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._fault = fault
        self._trace = ""
        self._spans: list[Span] = []

    def traces(self, count: int, *, start_ns: int = 10**18) -> list[Span]:
        """Spans of ``count`` requests, 10 ms apart."""
        self._spans = []
        for number in range(count):
            self._trace = f"t{start_ns}-{number}"
            self._serve("frontend", "", start_ns + number * 10_000_000)
        return self._spans

    def _serve(self, service: str, parent: str, start_ns: int) -> tuple[int, bool]:
        """End of the span and whether it failed."""
        random = self._random
        replica = f"{service}-{random.integers(REPLICAS.get(service, 1))}"
        fault = self._fault
        is_hit = (
            fault is not None
            and fault.service == service
            and fault.replica in {None, replica}
            and random.random() < fault.share
        )
        kind = fault.kind if fault is not None and is_hit else ""
        if kind == "dead":
            return start_ns + 50_000_000, True
        own_ns = OWN_MS[service] * 1e6 * random.lognormal(0, 0.4) * (fault.factor if fault and kind == "slow" else 1)
        span_id = f"s{len(self._spans)}-{start_ns}-{service}"
        at = start_ns + int(own_ns / 2)
        has_failed = kind == "errors"
        for called in [] if kind == "early return" else CALLS[service]:
            call_id = f"{span_id}>{called}"
            answered, did_fail = self._serve(called, call_id, at + 100_000)
            has_failed = has_failed or did_fail
            self._note(call_id, span_id, service, f"call {called}", replica, at, answered + 100_000 - at, did_fail)
            at = answered + 100_000
        end = at + int(own_ns / 2)
        self._note(span_id, parent, service, f"serve {service}", replica, start_ns, end - start_ns, has_failed)
        return end, has_failed

    def _note(
        self, span_id: str, parent: str, service: str, operation: str, replica: str, start: int, took: int, failed: bool
    ) -> None:
        self._spans.append(Span(self._trace, span_id, parent, service, operation, replica, start, took, failed))
