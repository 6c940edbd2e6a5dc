"""Lets a model be loaded, or not: signatures are verified before each load, by the files as they lie on this node."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from penstock.manifests import FILENAME as MANIFEST
from penstock.registry.v1 import resources_pb2 as pb
from penstock.signatures import FILENAME as BUNDLE
from services.common import trust
from services.common.errors import FailedPreconditionError, NotFoundError
from services.common.trust import Finding, Key, Outcome
from services.common.watch import ResourceCache
from services.inference.adapters.downloads import digest_of


class Admission:
    """Judges versions by what the registry said last of keys, policies and revocations."""

    def __init__(self, resources: ResourceCache) -> None:
        self._resources = resources
        self.checks: Counter[tuple[str, bool]] = Counter()
        """How often a signature was looked at, by what came of it and whether the model was let in."""

    async def check(self, name: str, folder: Path) -> None:
        """Refuse a version, given by its resource name, that may not be loaded.

        Raises:
            FailedPreconditionError: its signature isn't enough, or was revoked, or is of other files.
            NotFoundError: there is no such version any more.
        """
        version = self._resources.versions.get(name)
        model = self._resources.models.get(name.partition("/versions/")[0])
        if version is None or model is None:
            raise NotFoundError(f"{name} does not exist any more")
        _, refusal = await self.examine(version, folder, self._resources.signing_keys.values(), model.trust_policy)
        if refusal:
            raise FailedPreconditionError(f"{name} is not loaded: {refusal}")

    async def examine(
        self, version: pb.ModelVersion, folder: Path, keys: Iterable[pb.SigningKey], policy: pb.TrustPolicy
    ) -> tuple[Finding, str]:
        """What was found of a version's signature, and why it may not be loaded; empty where it may."""
        if refusal := version.trust.refusal:  # the registry knows already: no need to read the files
            finding = Finding(Outcome(version.trust.outcome))
        else:
            finding = await asyncio.to_thread(_examine, version, folder, [Key.of(one) for one in keys], policy.key_set)
            refusal = trust.refusal(finding, key_set=policy.key_set, is_trusted=version.trusted)
        self.checks[finding.outcome.name.lower(), not refusal] += 1
        return finding, refusal


def _examine(version: pb.ModelVersion, folder: Path, keys: list[Key], key_set: str) -> Finding:
    if BUNDLE not in {one.path for one in version.files}:
        return Finding(Outcome.UNSIGNED)
    try:
        found = {one.relative_to(folder).as_posix(): one for one in folder.rglob("*") if one.is_file()}
        return trust.examine(
            found[BUNDLE].read_bytes() if BUNDLE in found else b"",
            {path: digest_of(one) for path, one in found.items()},
            keys,
            declared=found[MANIFEST].read_bytes() if MANIFEST in found else None,
            manifest=version.manifest,
            key_set=key_set,
        )
    except OSError as error:
        return Finding(Outcome.BROKEN, detail=f"can't read a file of the model: {error.strerror}")
