"""Whether a version is loaded, as far as that decides what becomes of its requests."""

from __future__ import annotations


class Residence:
    """What the registry says of a version's processes, and what was seen of them since. Times are monotonic seconds.

    A version that is asleep takes requests, and is loaded for them: they wait, for as long as their deadlines allow,
    until it answers, or turns out not to load.
    """

    __slots__ = ("_asked_at", "_count", "failure", "is_asleep", "is_awaited", "used_at")

    def __init__(self) -> None:
        self.is_asleep = False
        self.is_awaited = False
        """Whether it is asleep, or was and no process of it has been ready since."""
        self.failure = ""
        """Why its processes crash again and again; empty where they don't."""
        self.used_at: float | None = None
        """When a request last came or was settled, as far as somebody looked."""
        self._asked_at: float | None = None
        self._count = 0

    @property
    def has_failed(self) -> bool:
        """Whether it was to be loaded and doesn't load."""
        return self.is_awaited and bool(self.failure)

    def note(self, *, is_asleep: bool = False, is_ready: bool = False, failure: str = "") -> None:
        """Take what the registry says."""
        self.is_asleep, self.failure = is_asleep, failure
        self.is_awaited = is_asleep or (self.is_awaited and not is_ready)

    def ask(self, now: float) -> None:
        """A request came, and no process has a lease."""
        if self.is_awaited and self._asked_at is None:
            self._asked_at = now

    def note_process(self, now: float) -> float | None:
        """A process answers. Returns how long the first request has waited for that, if one has."""
        asked_at, self._asked_at = self._asked_at, None
        return None if asked_at is None else now - asked_at

    def look(self, *, unsettled: int, settled: int, now: float) -> None:
        """See whether it was used since the last look; ``settled`` counts all requests that ever ended."""
        if unsettled or settled != self._count:
            self.used_at, self._count = now, settled
