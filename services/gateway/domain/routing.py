"""Which lane a request goes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.errors import NotFoundError, UnavailableError
from services.common.forms import KnownForms
from services.gateway.domain.lane import Lane
from services.gateway.domain.plans import Plan
from services.gateway.domain.splits import Split


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """A deployed model: its lanes by version, in the deployment's order, and the versions that aliases stand for.

    An alias may name a version that is not deployed. ``split`` is there while a rollout is under way.
    """

    lanes: Mapping[str, Lane]
    aliases: Mapping[str, str] = field(default_factory=dict)
    split: Split | None = None

    @property
    def default(self) -> Lane:
        """Where a request goes that names no version: the last one listed."""
        return self.lanes[next(reversed(list(self.lanes)))]


class RoutingTable:
    """Resolves model and version; immutable, replaced as a whole when the registry changes.

    ``forms`` remembers what was found out with it.
    """

    def __init__(self, models: Mapping[str, ModelRoutes], *, is_complete: bool = True) -> None:
        """``is_complete`` is False as long as the registry has not been heard: models may be missing then."""
        self.models = models
        self.forms: KnownForms[Plan] = KnownForms()
        self._is_complete = is_complete
        self._lanes: dict[tuple[str, str], Lane] = {}
        for model, routes in models.items():
            for alias, version in routes.aliases.items():
                if version in routes.lanes:
                    self._lanes[model, alias] = routes.lanes[version]
            self._lanes.update(((model, version), lane) for version, lane in routes.lanes.items())
            self._lanes[model, ""] = routes.default
        self.splits = [routes.split for routes in models.values() if routes.split is not None]
        """Of models with a rollout under way."""
        self._drawn: dict[tuple[str, str], Split] = {}
        for split in self.splits:
            if split.is_drawing:
                asked = [(split.model, one) for one in ("", split.alias)]
                self._drawn.update((one, split) for one in asked if self._lanes.get(one) is split.baseline)

    def split_of(self, model: str, version: str) -> Split | None:
        """How requests that ask for this are divided; None where they all go to one version."""
        return self._drawn.get((model, version))

    def find(self, model: str, version: str) -> Lane | None:
        """The lane for a model and a version's number, an alias, or "" for the default; None when there is none."""
        return self._lanes.get((model, version))

    def resolve(self, model: str, version: str) -> Lane:
        """The lane for a model and a version's number, an alias, or "" for the default.

        Raises:
            NotFoundError: there is no such deployed model or version.
            UnavailableError: the registry has not been heard yet.
        """
        lane = self._lanes.get((model, version))
        if lane is None:
            raise self._explain(model, version)
        return lane

    def _explain(self, model: str, version: str) -> NotFoundError | UnavailableError:
        if not self._is_complete:
            return UnavailableError("the gateway has not heard from the registry yet", reason="NOT_READY")
        routes = self.models.get(model)
        if routes is None:
            known = ", ".join(f"'{name}'" for name in sorted(self.models)[:20]) or "none"
            return NotFoundError(
                f"Request for unknown model: '{model}' is not found; deployed models: {known}", reason="MODEL_NOT_FOUND"
            )
        target = routes.aliases.get(version)
        why = f" (the alias stands for {target}, which is not deployed)" if target else ""
        expected = ", ".join([*routes.lanes, *(one for one, at in routes.aliases.items() if at in routes.lanes)])
        return NotFoundError(
            f"Request for unknown model: '{model}' version '{version}' is not found{why}; "
            f"deployed versions and aliases: {expected}",
            reason="VERSION_NOT_FOUND",
        )
