"""How what a retraining produced comes in, by the door that all versions take: imported, validated, rolled out."""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.registry.v1.resources_pb2 import ModelVersion
from services.common.errors import FailedPreconditionError, InvalidArgumentError
from services.monitor import model_import
from services.monitor.adapters.commands import REQUEST, RESULT, Commands
from services.monitor.adapters.registry_calls import RegistryCalls, Rollout
from services.monitor.domain.recipes import Recipe
from services.monitor.domain.retraining import Result, Retraining, result_of
from services.monitor.environment import command_environment

_ACTIVE = (Rollout.STATE_LOADING, Rollout.STATE_RUNNING, Rollout.STATE_HELD)
_OVER = (Rollout.STATE_PROMOTED, Rollout.STATE_ROLLED_BACK, Rollout.STATE_FAILED)
_REFUSED = (ModelVersion.STATE_REJECTED, ModelVersion.STATE_ARCHIVED)
_IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rollout stands."""

    name: str
    is_over: bool
    is_promoted: bool
    reason: str


class Introductions:
    """Works below the folder of retrainings; ``registry_address`` is where the importing process finds the registry."""

    def __init__(self, home: Path, commands: Commands, *, registry_address: Callable[[], str]) -> None:
        self._home = home
        self._commands = commands
        self._registry_address = registry_address

    async def brought_by_itself(self, registry: RegistryCalls, retraining: Retraining) -> str:
        """The version that names the retraining in its labels, as a result; "" for none."""
        for version in await registry.versions(retraining.model):
            if version.labels.get(model_import.LABEL) in (retraining.retraining_id, retraining.name):
                return json.dumps({"model_version": version.name})
        return ""

    async def import_(self, registry: RegistryCalls, retraining: Retraining, recipe: Recipe) -> str | None:
        """The name of the READY version that came of a retraining; None: not yet.

        Raises:
            FailedPreconditionError: it can't be served, or there is nothing where it is said to be.
        """
        result = result_of(retraining.result, model=retraining.model)
        if result.model_version:
            version = await registry.version(result.model_version)
            if version.state in _REFUSED:
                raise FailedPreconditionError(f"{version.name} was rejected: {version.state_reason or 'it is retired'}")
            return str(version.name) if version.state == ModelVersion.STATE_READY else None
        folder = self._folder(retraining)
        await self._begin_import(folder, retraining, recipe, result)
        progress = await self._commands.look_at(folder)
        if not progress.is_over:
            return None
        if progress.failure:
            why = " ".join(progress.output_tail.strip().splitlines()[-1:]) or progress.failure
            raise FailedPreconditionError(f"what it produced can't be imported: {why}")
        return result_of(progress.result, model=retraining.model).model_version

    async def _begin_import(self, folder: Path, retraining: Retraining, recipe: Recipe, result: Result) -> None:
        """Start the process that imports, unless it was."""
        request = {
            "registry": self._registry_address(),
            "model": retraining.model,
            "path": str(self._inside(retraining, recipe, result.path)),
            "result": str(folder / RESULT),
            "is_trusted": recipe.is_trusted,
            "labels": {**recipe.labels, **dict(result.labels), model_import.LABEL: retraining.retraining_id},
            "metrics": dict(result.metrics),
        }
        await self._commands.run(
            folder,
            [sys.executable, "-m", model_import.__name__, str(folder / REQUEST)],
            environment={**command_environment(), "PENSTOCK_ACTOR": f"monitor for {retraining.name}"},
            working_folder=folder,
            deadline_ns=retraining.deadline_ns,
            request=json.dumps(request),
        )

    def _inside(self, retraining: Retraining, recipe: Recipe, path: str) -> Path:
        """Where the files lie, which must be below the policy's folder, else the retraining's own."""
        base = (Path(recipe.folder) if recipe.folder else self._home / retraining.retraining_id).resolve()
        found = (base / path).resolve()
        if not found.is_relative_to(base):
            raise InvalidArgumentError(f"got the path {path[:255]!r}, expected one below the policy's folder")
        if not found.exists():
            raise FailedPreconditionError(f"there is nothing at {path[:255]!r}, where its result was to be")
        return found

    def stop(self, retraining: Retraining) -> None:
        """End the import, if it goes on."""
        self._commands.stop_in(self._folder(retraining))

    def _folder(self, retraining: Retraining) -> Path:
        return self._home / retraining.retraining_id / _IMPORT

    async def roll_out(self, registry: RegistryCalls, retraining: Retraining, recipe: Recipe) -> Standing | None:
        """Roll the version out, or tell where that stands; None: another rollout of the model is under way.

        Raises:
            FailedPreconditionError: the registry refuses it.
            NotFoundError: the model isn't deployed.
        """
        if retraining.rollout:
            return _standing(await registry.rollout(retraining.rollout))
        if recipe.plan is None:
            raise FailedPreconditionError("the policy doesn't say how it is rolled out any more")
        newest = await registry.rollouts(retraining.model)
        for one in newest:
            if one.candidate == retraining.model_version and one.reason.startswith(retraining.name):
                return _standing(one)
        if any(one.state in _ACTIVE for one in newest):
            return None
        reason = f"{retraining.name}: {json.loads(retraining.request)['reason']}"
        digest = hashlib.blake2b(retraining.retraining_id.encode(), digest_size=16).digest()
        request_id = uuid.UUID(bytes=digest, version=4)
        return _standing(
            await registry.create_rollout(retraining.model_version, recipe.plan, reason=reason, request_id=request_id)
        )


def _standing(rollout: Rollout) -> Standing:
    is_promoted = rollout.state == Rollout.STATE_PROMOTED
    return Standing(rollout.name, rollout.state in _OVER, is_promoted, rollout.state_reason)
