"""What may be asked about models and the server; the answers of both APIs come from here."""

from __future__ import annotations

from typing import Protocol

from services.common.watch import ResourceCache
from services.gateway import descriptions
from services.gateway.catalog import Catalog
from services.gateway.descriptions import Description
from services.gateway.inference import Desk


class Siblings(Protocol):
    """The other processes of this gateway."""

    async def statistics(self, model: str, version: str) -> list[Description]:
        """What each has counted."""


class Models:
    """Answers questions; every one that names a model raises NotFoundError when it is not deployed."""

    def __init__(
        self, *, resources: ResourceCache, catalog: Catalog, desk: Desk, version: str, siblings: Siblings | None = None
    ) -> None:
        self.is_redis_up = False
        self.has_seen_lanes = False
        """Whether it was looked, once the registry was heard, who serves what is deployed."""
        self.is_awaited = siblings is not None
        """Whether other processes of this gateway have yet to become ready."""
        self.is_draining = False
        self._resources = resources
        self._catalog = catalog
        self._desk = desk
        self._version = version
        self._siblings = siblings

    @property
    def is_prepared(self) -> bool:
        """Whether this process has what it needs: the registry was heard, Redis answers, and who serves is known."""
        return self._resources.is_complete and self.is_redis_up and self.has_seen_lanes

    @property
    def is_ready(self) -> bool:
        """Whether requests can be taken: we are prepared, so are our siblings, and nobody asked us to stop."""
        return self.is_prepared and not self.is_awaited and not self.is_draining

    def is_model_ready(self, model: str, version: str) -> bool:
        """Whether a live process serves the version, or will for a request; False for one that does not exist."""
        lane = self._desk.routes.find(model, version)
        return lane is not None and lane.takes_requests

    def describe_server(self) -> Description:
        return descriptions.server(self._version)

    def describe(self, model: str, version: str) -> Description:
        """The metadata of a version, or of a model with all its versions."""
        lane = self._desk.routes.resolve(model, version)
        versions = [lane.version.version] if version else self._desk.routes.models[model].lanes
        return descriptions.metadata(lane, versions=versions)

    def configuration(self, model: str, version: str) -> Description:
        return descriptions.config(self._desk.routes.resolve(model, version).version)

    async def statistics(self, model: str, version: str) -> Description:
        """The figures of a version, of all of a model's, or ("" and "") of all models, in all gateway processes."""
        own = self.own_statistics(model, version)
        if self._siblings is None:
            return own
        return descriptions.joined(own, await self._siblings.statistics(model, version))

    def own_statistics(self, model: str, version: str) -> Description:
        """The figures of this process alone."""
        if not model:
            return descriptions.statistics(self._catalog.lanes)
        lane = self._desk.routes.resolve(model, version)
        return descriptions.statistics([lane] if version else self._desk.routes.models[model].lanes.values())

    def index(self, *, ready: bool) -> list[Description]:
        return descriptions.index(self._resources, self._desk.routes, ready=ready)
