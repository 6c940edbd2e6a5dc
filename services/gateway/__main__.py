"""``python -m services.gateway``: the front door."""

from __future__ import annotations

import sys

from services.common import logs, settings
from services.gateway.keeper import Keeper
from services.gateway.settings import GatewaySettings, passed_descriptors


def main() -> None:
    try:
        suite, own = settings.load(GatewaySettings)
    except ValueError as error:
        sys.exit(str(error))
    logs.configure("penstock-gateway", suite.log_level, suite.log_format)
    keeper = Keeper.from_descriptors(passed_descriptors())
    if own.process_count > 1:
        from services.gateway.processes.server import run

        run(suite, own, keeper)
    from services.common import serving  # slow, and nothing for a process that only keeps others
    from services.gateway.server import serve

    serving.run(lambda stop: serve(stop, suite, own, keeper=keeper))


if __name__ == "__main__":
    main()
