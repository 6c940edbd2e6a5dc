"""How often something may happen."""

from __future__ import annotations


class Allowance:
    """A token bucket: ``per_second`` times a second, and as often at once after a second without."""

    def __init__(self, per_second: int, now_ns: int) -> None:
        self._most = self._left = float(per_second)
        self._since_ns = now_ns

    def take(self, now_ns: int) -> bool:
        """Whether it may happen now; then it counts as happened."""
        earned = max(0, now_ns - self._since_ns) * self._most / 1e9
        self._left, self._since_ns = min(self._most, self._left + earned), now_ns
        if self._left < 1:
            return False
        self._left -= 1
        return True
