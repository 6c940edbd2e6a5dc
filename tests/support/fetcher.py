"""Fetches models into a node's cache, one after the other, then keeps the last only.

``python -m tests.support.fetcher FOLDER REGISTRY LIMIT_BYTES MODEL…``, each model by its files' contents, with commas
between.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import grpc

from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.domain.content import Content, ModelFile


def content_of(*files: bytes) -> Content:
    """A model of these files."""
    listed = tuple(ModelFile(f"part-{at}", hashlib.sha256(one).hexdigest(), len(one)) for at, one in enumerate(files))
    return Content(hashlib.sha256(b",".join(files)).hexdigest(), listed)


async def main(folder: str, registry: str, limit: str, *models: str) -> None:
    wanted = [content_of(*model.encode().split(b",")) for model in models]
    async with grpc.aio.insecure_channel(registry) as channel:
        cache = ArtifactCache(Path(folder), RegistryServiceStub(channel), limit_bytes=int(limit))
        for content in wanted:
            await cache.fetch(content)
        await cache.keep_only(wanted[-1:])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
