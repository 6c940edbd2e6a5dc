"""Which versions gateways have requests for, as they say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from services.common.errors import InvalidArgumentError
from services.registry.domain import ids
from services.registry.domain.fleet import Use

_SILENCE_NS = 3 * 10**9
"""What a gateway said so long ago counts for nothing: it is gone, or has nothing to say."""
_MEMORY_NS = 3600 * 10**9
"""Who was used before that is as good as never used."""
_LASTING_NS = 5 * 10**9
"""So long a version is asked for after its last request left: those with short deadlines find it loaded next time."""
_MOST = 10_000
_LONGEST_ID = 64


@dataclass(frozen=True, slots=True)
class VersionDemand:
    """What one gateway process says of a version, by its resource name."""

    version: str
    unsettled: int
    idle_ns: int


@dataclass(frozen=True, slots=True)
class _Said:
    heard_ns: int
    unsettled: dict[str, int]


class Demand:
    """Remembers it for as long as it counts. ``monotonic`` tells the time in nanoseconds."""

    def __init__(self, monotonic: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._said: dict[str, _Said] = {}
        self._used_ns: dict[str, int] = {}
        self._homeless_ns: dict[str, int] = {}  # since when
        self._asked_ns: dict[str, int] = {}  # since when, as long as it runs nowhere

    def note(self, gateway_id: str, demands: Collection[VersionDemand]) -> bool:
        """Take what a gateway has requests for. Returns whether a version is asked for that was not before.

        Raises:
            InvalidArgumentError: the report makes no sense.
        """
        _check(gateway_id, demands)
        now_ns = self._monotonic()
        self._said[gateway_id] = _Said(now_ns, {one.version: one.unsettled for one in demands if one.unsettled})
        for one in demands:
            self._used_ns[one.version] = max(now_ns - one.idle_ns, self._used_ns.get(one.version, 0))
        asked = {one.version for one in demands if self._is_asked(one.version, one.unsettled, now_ns)}
        is_new = not asked <= self._asked_ns.keys()
        for version in asked:
            self._asked_ns.setdefault(version, now_ns)
        return is_new

    def note_homeless(self, versions: Iterable[str]) -> None:
        """Take which versions run nowhere, from now on or since it was said first."""
        now_ns = self._monotonic()
        self._homeless_ns = {version: self._homeless_ns.get(version, now_ns) for version in versions}
        self._asked_ns = {version: at for version, at in self._asked_ns.items() if version in self._homeless_ns}

    def uses(self) -> dict[str, Use]:
        """How versions are used, by name; those that aren't named are not used."""
        now_ns = self._monotonic()
        self._said = {gateway: one for gateway, one in self._said.items() if now_ns - one.heard_ns < _SILENCE_NS}
        self._used_ns = {version: at for version, at in self._used_ns.items() if now_ns - at < _MEMORY_NS}
        unsettled = Counter[str]()
        for said in self._said.values():
            unsettled.update(said.unsettled)
        self._asked_ns = {
            version: self._asked_ns.get(version, now_ns)
            for version in self._homeless_ns
            if self._is_asked(version, unsettled[version], now_ns)
        }
        return {
            version: Use(unsettled[version], (now_ns - used_ns) * 1e-9, self._asked_s(version, now_ns))
            for version, used_ns in self._used_ns.items()
        }

    def _is_asked(self, version: str, unsettled: int, now_ns: int) -> bool:
        homeless_ns = self._homeless_ns.get(version)
        if homeless_ns is None:
            return False
        used_ns = self._used_ns.get(version, 0)
        return unsettled > 0 or (used_ns > homeless_ns and now_ns - used_ns < _LASTING_NS)

    def _asked_s(self, version: str, now_ns: int) -> float | None:
        asked_ns = self._asked_ns.get(version)
        return None if asked_ns is None else (now_ns - asked_ns) * 1e-9


def _check(gateway_id: str, demands: Collection[VersionDemand]) -> None:
    if not 0 < len(gateway_id) <= _LONGEST_ID:
        raise InvalidArgumentError(f"got a gateway_id of {len(gateway_id)} characters, expected 1 to {_LONGEST_ID}")
    if len(demands) > _MOST:
        raise InvalidArgumentError(f"got {len(demands)} demands, expected at most {_MOST}")
    for one in demands:
        ids.parse_version(one.version)
        if one.unsettled < 0:
            raise InvalidArgumentError(f"got {one.unsettled} unsettled_requests of {one.version}, expected 0 or more")
