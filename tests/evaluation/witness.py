"""What really happened in a run, which the monitor isn't told: how many requests, and which of them a fault touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.blocks import NS, Batch, Pulse
from services.monitor.domain.phases import Signal
from services.monitor.evaluation.stream import START_S, Observation
from tests.evaluation.alterations import ended_s
from tests.evaluation.scenarios import Draw, Expected

_ID = 16


@dataclass(slots=True)
class Witness:
    """``expected`` is None where nothing goes wrong."""

    draw: Draw
    expected: Expected | None = None
    requests: int = 0
    _touched: set[bytes] = field(default_factory=set)
    _served: list[tuple[float, float, int]] = field(default_factory=list)
    """Beginning, end and touched requests of each span."""

    def see(self, observation: Observation) -> None:
        if isinstance(observation, Pulse) and self._is_concerned(observation.instance):
            self._touched.add(observation.trace_id)
        if not isinstance(observation, Batch):
            return
        count = len(observation.trace_ids) // _ID
        self.requests += count
        end_s = ended_s(observation)
        if self.expected is None or end_s < self.draw.at_s or not self._is_concerned(observation.instance):
            return
        begin_s = (observation.start_ns - START_S * NS) / NS
        self._served.append((begin_s, end_s, count))
        touched = self._bad(observation, self.expected)
        if touched.any():
            self._touched.add(observation.trace_id)
            ids = observation.trace_ids
            self._touched.update(ids[_ID * one : _ID * (one + 1)] for one in np.flatnonzero(touched))

    def is_touched(self, trace_id: str) -> bool:
        """``trace_id``: in hexadecimal digits."""
        return bytes.fromhex(trace_id) in self._touched

    def requests_until(self, at_s: float) -> float:
        """Requests where the fault is, from its beginning on; a span's are spread evenly over its time."""
        return sum(self._parts(at_s))

    def _parts(self, at_s: float) -> Iterator[float]:
        for begin_s, end_s, count in self._served:
            inside = min(end_s, at_s) - max(begin_s, self.draw.at_s)
            yield count * min(1.0, max(0.0, inside) / max(end_s - begin_s, 1e-9))

    def is_culprit(self, instance: str) -> bool:
        """Whether it is the replica at fault."""
        return instance.startswith(f"node.{self.draw.replica}@")

    def _is_concerned(self, instance: str) -> bool:
        return self.expected is not None and (not self.expected.is_replicas or self.is_culprit(instance))

    @staticmethod
    def _bad(batch: Batch, expected: Expected) -> NDArray[np.bool_]:
        """Which of a batch's requests the fault shows on."""
        count = len(batch.trace_ids) // _ID
        if expected.signals == {Signal.ERROR_RATE}:
            return np.asarray(np.frombuffer(batch.status, np.uint8) != 0)
        if expected.signals == {Signal.NONFINITE}:
            return np.asarray(np.frombuffer(batch.nonfinite or bytes(4 * count), "<u4") > 0, np.bool_)
        return np.ones(count, np.bool_)
