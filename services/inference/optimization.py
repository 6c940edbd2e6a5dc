"""Load-time optimisation: has the variants of a served version tried beside it, and records what is fastest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PenstockError
from services.common.watch import ResourceCache
from services.inference.adapters.devices import Hardware
from services.inference.admission import Admission
from services.inference.domain.fleet import effective_batch_size
from services.inference.domain.variants import Level, Variant, best
from services.inference.instance import Artifacts
from services.inference.resources import (
    content_of,
    level_of,
    manifest_of,
    optimization_of,
    signature_from,
    trial_message,
)
from services.inference.search import SearchSpec
from services.inference.supervised_search import (
    BrokenOffError,
    FailedSearchError,
    Limits,
    StarvedError,
    SupervisedSearch,
)

_log = logging.getLogger(__name__)

_RETRY_S = 1.0
_LONGEST_CLAIM_S = 300.0
"""A node that searches, and has not reported for so long, is gone."""
_BUSY_PAUSE_S = 600.0
_SETTLED_S = 60.0
"""While models take turns, one that stayed loaded for so long is searched: about what a search takes."""
_PREFERRED_ROWS = 16


class Registry(Protocol):
    """Who keeps what was found."""

    async def report_optimization(self, version: str, found: pb.Optimization) -> None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A version to search, and how far."""

    version: pb.ModelVersion
    level: Level
    max_batch_size: int

    @property
    def key(self) -> tuple[str, str, Level]:
        """A name may come again, when a model was deleted, but with other content."""
        return self.version.name, self.version.digest, self.level


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a node has for searches: how far they go at most, and how they step back behind what serves."""

    level: Level
    niceness: int
    memory_share: float


class Optimizer:
    """Searches one version at a time, and only while it takes requests on this node."""

    def __init__(
        self,
        registry: Registry,
        artifacts: Artifacts,
        resources: ResourceCache,
        admission: Admission,
        *,
        node: str,
        device: str,
        hardware: Hardware,
        bounds: Bounds,
        is_confined: bool,
        serving_s: Callable[[str], float | None],
        has_product: Callable[[str], bool],
    ) -> None:
        """``node`` is the node's resource name.

        ``serving_s`` says how long a version has taken requests here, None where it doesn't, ``has_product`` whether
        the node has native code of a file.
        """
        self._has_product = has_product
        self._is_confined = is_confined
        self._registry = registry
        self._artifacts = artifacts
        self._admission = admission
        self._resources = resources
        self._node = node
        self._device = device
        self._hardware = hardware
        self._bounds = bounds
        self._serving_s = serving_s
        self._not_before: dict[tuple[str, str, Level], float] = {}
        self.searching: tuple[str, float] | None = None
        """The version that is searched now, and how much of it is done, 0 to 1."""
        self.outcomes = {"complete": 0, "failed": 0, "broken off": 0}
        """How many searches ended, and how."""

    async def optimize_pending(self) -> None:
        """Search until nothing that serves here is left to search."""
        while (target := next(self._targets(), None)) is not None:
            name = target.version.name
            self.searching = name, 0.0
            try:
                await self._optimize(target)
            except (FailedPreconditionError, InvalidArgumentError, NotFoundError) as error:
                _log.warning("%s: the search is refused: %s", name, error.message)
            except PenstockError:
                raise
            except Exception:  # noqa: BLE001 - a search must not take along what serves
                self._not_before[target.key] = float("inf")
                _log.exception("%s: the search failed", name)
            finally:
                self.searching = None

    def _targets(self) -> Iterator[Target]:
        """Served versions that were not searched yet on this hardware."""
        for target in self._served():
            is_due = time.monotonic() >= self._not_before.get(target.key, 0.0)
            if is_due and self._is_settled(target) and not self._is_known(target):
                yield target

    def _is_settled(self, target: Target) -> bool:
        """Whether it is likely to stay loaded until it was searched: while models take turns, few do."""
        deployments = self._resources.deployments
        if not any(place.is_asleep for one in deployments.values() for place in one.placements):
            return True
        model = target.version.name.split("/")[1]
        return deployments[f"deployments/{model}"].pinned or (self._serving_s(target.version.name) or 0.0) >= _SETTLED_S

    def _served(self) -> Iterator[Target]:
        """Versions that take requests here and may be searched, in the order of their names."""
        for _, deployment in sorted(self._resources.deployments.items()):
            level = min(level_of(deployment), self._bounds.level)
            if level is Level.OFF or (self._hardware.is_gpu and level is not Level.FULL):
                continue
            for name in deployment.versions:
                version = self._resources.versions.get(name)
                if version is None or not version.HasField("signature") or version.signature.decoupled:
                    continue
                if self._serving_s(name) is not None:
                    yield Target(version, level, deployment.batching.max_batch_size)

    def _is_known(self, target: Target) -> bool:
        """Whether the search was done, or another node is about it."""
        found = optimization_of(target.version, self._hardware)
        if found is None:
            return False
        if found.state == pb.Optimization.STATE_SEARCHING:
            age_s = time.time() - found.update_time.ToNanoseconds() / 1e9
            return found.node != self._node and age_s < _LONGEST_CLAIM_S
        if Variant.of(found.variant).is_compiled and not self._has_product(target.version.digest):
            return False
        return found.state == pb.Optimization.STATE_COMPLETE and found.level >= target.level

    async def _optimize(self, target: Target) -> None:
        content = content_of(target.version)
        with self._artifacts.hold(content):
            path = await self._artifacts.fetch(content, lambda _: None)
            try:
                await self._admission.check(target.version.name, path)
            except FailedPreconditionError:
                self._not_before[target.key] = time.monotonic() + _BUSY_PAUSE_S
                raise
            await self._search(target, path)

    async def _search(self, target: Target, path: Path) -> None:
        limits = Limits.of(target.level, memory_share=self._bounds.memory_share)
        news = asyncio.Event()
        search = SupervisedSearch(
            self._spec(target, str(path)),
            limits,
            is_wanted=lambda: any(one.key == target.key for one in self._served()),
            on_trial=news.set,
        )
        _log.info("optimising %s, %s", target.version.name, target.level.name)
        reporting = asyncio.create_task(self._report_progress(target, search, news))
        try:
            await search.run()
            state, reason, outcome = pb.Optimization.STATE_COMPLETE, "", "complete"
            self._not_before[target.key] = float("inf")
        except FailedSearchError as error:
            state, reason, outcome = pb.Optimization.STATE_FAILED, str(error), "failed"
            self._not_before[target.key] = float("inf")
        except BrokenOffError as error:
            state, reason, outcome = pb.Optimization.STATE_FAILED, f"broken off: {error}", "broken off"
            self._not_before[target.key] = time.monotonic() + (_BUSY_PAUSE_S if isinstance(error, StarvedError) else 0)
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        self.outcomes[outcome] += 1
        found = self._found(target, search, state, reason)
        _log.info("optimised %s: %s", target.version.name, reason or f"{found.speedup:.2f} times as fast")
        await self._deliver(target.version.name, found)

    def _spec(self, target: Target, path: str) -> SearchSpec:
        signature = signature_from(target.version.signature)
        return SearchSpec(
            path=path,
            format=target.version.format,
            signature=signature,
            device=self._device,
            threads=self._hardware.threads,
            level=target.level,
            rows=min(_PREFERRED_ROWS, effective_batch_size(target.max_batch_size, signature)),
            niceness=self._bounds.niceness,
            manifest=manifest_of(target.version),
            is_confined=self._is_confined,
        )

    async def _report_progress(self, target: Target, search: SupervisedSearch, news: asyncio.Event) -> None:
        """Tell of each trial. Lost words don't matter: the last one says all."""
        while True:
            share = len(search.trials) / search.count if search.count else 0.0
            self.searching = target.version.name, min(1.0, share)
            with contextlib.suppress(PenstockError):
                await self._registry.report_optimization(
                    target.version.name, self._found(target, search, pb.Optimization.STATE_SEARCHING, "")
                )
            await news.wait()
            news.clear()

    def _found(
        self, target: Target, search: SupervisedSearch, state: pb.Optimization.State, reason: str
    ) -> pb.Optimization:
        """The entry to record. Until the search is complete, what an earlier one chose stays."""
        found = pb.Optimization(
            hardware=self._hardware.key(target.version.format),
            level=int(target.level),  # type: ignore[arg-type]
            state=state,
            state_reason=reason,
            speedup=1.0,
            trials=map(trial_message, search.trials),
            trial_count=max(search.count, len(search.trials)),
        )
        found.search_duration.FromNanoseconds(int(search.elapsed_s * 1e9))
        chosen = best(search.trials)
        before = optimization_of(target.version, self._hardware)
        if state != pb.Optimization.STATE_COMPLETE and before is not None:
            found.variant.update(before.variant)
            found.speedup = before.speedup
        elif state == pb.Optimization.STATE_COMPLETE and chosen is not None:
            found.variant.update(dict(chosen.variant.options))
            found.speedup = chosen.speedup
        return found

    async def _deliver(self, version: str, found: pb.Optimization) -> None:
        """Report until the registry hears it.

        Raises:
            FailedPreconditionError, InvalidArgumentError, NotFoundError: it never will.
        """
        while True:
            try:
                return await self._registry.report_optimization(version, found)
            except (FailedPreconditionError, InvalidArgumentError, NotFoundError):
                raise
            except PenstockError as error:
                _log.debug("reporting %s again: %s", version, error)
                await asyncio.sleep(_RETRY_S)
