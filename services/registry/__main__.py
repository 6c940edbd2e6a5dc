"""Starts the registry: ``python -m services.registry``."""

from __future__ import annotations

import asyncio

from services.common import logs, serving
from services.common.settings import load
from services.registry.server import serve
from services.registry.settings import RegistrySettings


async def main(stop: asyncio.Event) -> None:
    suite, settings = load(RegistrySettings)
    logs.configure("penstock-registry", suite.log_level, suite.log_format)
    await serve(suite, settings, stop)


if __name__ == "__main__":
    serving.run(main)
