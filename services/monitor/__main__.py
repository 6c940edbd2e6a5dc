"""``python -m services.monitor``: run the monitor until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from services.common import logs, serving
from services.common.latency import favour_latency
from services.common.priority import step_back
from services.common.settings import load
from services.monitor.server import Monitor
from services.monitor.settings import MonitorSettings

_NICENESS = 10


def main() -> None:
    try:
        suite, settings = load(MonitorSettings)
    except ValueError as error:
        sys.exit(str(error))
    logs.configure("penstock-monitor", suite.log_level, suite.log_format)
    serving.run(lambda stop: Monitor(suite, settings).serve(stop, on_start=lambda _: _settle_down()))


def _settle_down() -> None:
    """Keep out of the way of those that answer requests on the same machine."""
    favour_latency()  # collections of garbage would look at all the ring of traces, and find nothing
    step_back(_NICENESS)


if __name__ == "__main__":
    main()
