"""A lane as the gateway sees it: what it serves, who serves it, how much waits."""

from __future__ import annotations

from services.common.errors import UnavailableError
from services.common.lanes import LaneKeys
from services.gateway.domain.statistics import VersionStatistics
from services.gateway.domain.versions import ServedVersion


class Lane:
    """The state of one model version at this gateway; lives from its deployment until its last request is settled."""

    def __init__(self, version: ServedVersion, *, now: float) -> None:
        """``now`` is when the version was first heard of: from then on a process may be awaited. Monotonic seconds."""
        self.version = version
        self.keys = LaneKeys(version.model, version.version)
        self.streams = _Streams(self.keys)
        """The stream of each priority."""
        self.statistics = VersionStatistics()
        self.unsettled = 0
        self.is_deployed = True
        self.live_consumers = 0
        self._absent_since = now

    @property
    def is_live(self) -> bool:
        return self.live_consumers > 0

    def observe_consumers(self, count: int, *, now: float) -> None:
        """Note how many processes hold a lease."""
        if self.live_consumers and not count:
            self._absent_since = now
        self.live_consumers = count

    def check_takes_requests(self, *, now: float, grace_s: float) -> None:
        """Refuse when nobody served the lane for ``grace_s``, or when it is full.

        Raises:
            UnavailableError: repeating the request may work.
        """
        version = self.version
        if not self.live_consumers and now - self._absent_since > grace_s:
            raise UnavailableError(
                f"model '{version.model}' version {version.version} has no live process", reason="NO_LIVE_PROCESS"
            )
        if self.unsettled >= version.queue_places:
            raise UnavailableError(
                f"Exceeds maximum queue size: model '{version.model}' version {version.version} has {self.unsettled} "
                f"requests waiting or running, expected less than {version.queue_places}",
                reason="QUEUE_FULL",
            )


class _Streams(dict[int, str]):
    def __init__(self, keys: LaneKeys) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, priority: int) -> str:
        made = self[priority] = self._keys.stream(priority)
        return made
