"""Which messages of a sender have arrived, when some come twice."""

from __future__ import annotations


class SequenceWindow:
    """Numbers of a sender that counts by one, over all the streams that it opens.

    A stream begins with the lowest number that has no receipt, so what is missing before it will not come any more: the
    sender gave it up, or another gateway process has it.
    """

    def __init__(self) -> None:
        self.contiguous = 0
        """The highest number without a gap before it; 0 before the first."""
        self._ahead: set[int] = set()

    def accept(self, number: int, *, is_first_of_stream: bool = False) -> bool:
        """Note a number; False when it was there before."""
        if is_first_of_stream and number > self.contiguous:
            self.contiguous = number - 1
            self._ahead = {one for one in self._ahead if one >= number}
        is_new = number > self.contiguous and number not in self._ahead
        if is_new:
            self._ahead.add(number)
        while self.contiguous + 1 in self._ahead:
            self.contiguous += 1
            self._ahead.remove(self.contiguous)
        return is_new
