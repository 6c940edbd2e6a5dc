"""``python -m services.monitor``: run the monitor until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from services.common import logs, serving
from services.common.settings import load
from services.monitor.server import Monitor
from services.monitor.settings import MonitorSettings


def main() -> None:
    try:
        suite, settings = load(MonitorSettings)
    except ValueError as error:
        sys.exit(str(error))
    logs.configure("penstock-monitor", suite.log_level)
    # Collections of garbage would look at all the ring of traces, and find nothing.
    serving.run(lambda stop: Monitor(suite, settings).serve(stop, on_start=lambda _: serving.favour_latency()))


if __name__ == "__main__":
    main()
