"""The API of sources: convert, delegate, convert."""

from __future__ import annotations

from typing import Any

from penstock.registry.v1 import source_service_pb2 as api
from penstock.registry.v1.source_service_pb2_grpc import SourceServiceServicer
from services.registry import sources
from services.registry.adapters.codec.sources import source_from_pb, source_to_pb
from services.registry.adapters.database import Database
from services.registry.domain import ids
from services.registry.sourcing import Sourcing


class SourceServicer(SourceServiceServicer):
    """``penstock.registry.v1.SourceService``."""

    def __init__(self, database: Database, sourcing: Sourcing) -> None:
        self._database = database
        self._sourcing = sourcing

    async def CreateSource(self, request: api.CreateSourceRequest, _context: Any) -> api.CreateSourceResponse:
        model = ids.parse_model(request.source.model)
        wanted = source_from_pb(request.source, source=request.source_id, model=model)
        source = await self._database.write(sources.create_source, wanted, request_id=request.request_id)
        self._sourcing.wake()
        return api.CreateSourceResponse(source=source_to_pb(source))

    async def GetSource(self, request: api.GetSourceRequest, _context: Any) -> api.GetSourceResponse:
        return api.GetSourceResponse(source=source_to_pb(await self._database.read(sources.get_source, request.name)))

    async def ListSources(self, request: api.ListSourcesRequest, _context: Any) -> api.ListSourcesResponse:
        found, token = await self._database.read(sources.list_sources, size=request.page_size, token=request.page_token)
        listed = [source_to_pb(one, with_events=False) for one in found]
        return api.ListSourcesResponse(sources=listed, next_page_token=token)

    async def UpdateSource(self, request: api.UpdateSourceRequest, _context: Any) -> api.UpdateSourceResponse:
        wanted = source_from_pb(request.source, source=ids.parse_source(request.source.name), model="")
        source = await self._database.write(sources.update_source, wanted, paths=request.update_mask.paths)
        self._sourcing.wake()
        return api.UpdateSourceResponse(source=source_to_pb(source))

    async def DeleteSource(self, request: api.DeleteSourceRequest, _context: Any) -> api.DeleteSourceResponse:
        await self._database.write(sources.delete_source, request.name, etag=request.etag)
        return api.DeleteSourceResponse()

    async def CheckSource(self, request: api.CheckSourceRequest, _context: Any) -> api.CheckSourceResponse:
        await self._sourcing.check(request.name, is_forced=request.is_forced)
        source = await self._database.read(sources.get_source, request.name)
        return api.CheckSourceResponse(source=source_to_pb(source))
