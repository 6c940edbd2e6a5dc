"""How long batches take. Pure: no clock."""

from __future__ import annotations


class Pace:
    """The running mean of the times that batches took, by size; sizes up to the next power of two count as one."""

    _MEAN_OVER = 4

    def __init__(self) -> None:
        self._means_ns: dict[int, float] = {}

    def learn(self, rows: int, took_ns: int) -> None:
        size = (rows - 1).bit_length()
        mean_ns = self._means_ns.setdefault(size, took_ns)
        self._means_ns[size] = mean_ns + (took_ns - mean_ns) / self._MEAN_OVER

    def expected_ns(self, rows: int) -> float:
        """What a batch of so many rows should take; 0 where there was none of its size."""
        return self._means_ns.get((rows - 1).bit_length(), 0.0)
