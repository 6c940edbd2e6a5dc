"""When a crashed process is started again, and when its crashes are a loop."""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
LOOP_CRASHES = 3
LOOP_WINDOW_S = 60.0
STAYS_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class CrashHistory:
    """The crashes of one process slot. Times are seconds of any monotonic clock."""

    pause_s: float = 0.0
    crashes: tuple[float, ...] = ()

    def crashed(self, now: float, *, uptime_s: float) -> CrashHistory:
        """The history after one more crash: the pause doubles, unless the process had been up for a good while."""
        is_fresh = uptime_s > LOOP_WINDOW_S or not self.crashes
        pause = FIRST_PAUSE_S if is_fresh else min(LONGEST_PAUSE_S, self.pause_s * 2)
        return replace(self, pause_s=pause, crashes=(*self.crashes[1 - LOOP_CRASHES :], now))

    def is_loop(self, now: float, *, ready_since: float | None) -> bool:
        """True from the third crash within a minute until the process has stayed up for a while."""
        if len(self.crashes) < LOOP_CRASHES or self.crashes[-1] - self.crashes[0] > LOOP_WINDOW_S:
            return False
        return ready_since is None or now - ready_since < STAYS_UP_S
