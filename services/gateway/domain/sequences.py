"""Which messages of a sender have arrived, when some come twice."""

from __future__ import annotations


class SequenceWindow:
    """Numbers of a sender that counts from anywhere, by one.

    The first number seen is the base: a sender sends what has no receipt again, in order, before anything new.
    """

    def __init__(self) -> None:
        self.contiguous = 0
        """The highest number without a gap before it; 0 before the first."""
        self._ahead: set[int] = set()

    def accept(self, number: int) -> bool:
        """Note a number; False when it was there before."""
        if self.contiguous == 0:
            self.contiguous = number - 1
        if number <= self.contiguous or number in self._ahead:
            return False
        self._ahead.add(number)
        while self.contiguous + 1 in self._ahead:
            self.contiguous += 1
            self._ahead.remove(self.contiguous)
        return True
