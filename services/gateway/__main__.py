"""``python -m services.gateway``: the front door."""

from __future__ import annotations

import sys

from services.common import logs, serving, settings
from services.gateway.server import serve
from services.gateway.settings import GatewaySettings


def main() -> None:
    try:
        suite, own = settings.load(GatewaySettings)
    except ValueError as error:
        sys.exit(str(error))
    logs.configure("penstock-gateway", suite.log_level)
    serving.run(lambda stop: serve(stop, suite, own))


if __name__ == "__main__":
    main()
