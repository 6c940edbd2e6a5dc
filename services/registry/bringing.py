"""What was found at a source becomes content, then a version, and then comes to the traffic."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from services.common.errors import AbortedError, PenstockError, UnavailableError
from services.registry import delivering, sources, trusting
from services.registry.adapters.database import Database
from services.registry.artifacts import CHUNK_BYTES, Artifacts
from services.registry.domain import callers, ids
from services.registry.domain.callers import Caller
from services.registry.domain.limits import MAX_LABEL
from services.registry.domain.resources import Artifact, Lineage, ModelVersion
from services.registry.domain.sources import Source
from services.registry.nodes import Nodes
from services.registry.source_check.messages import Answer, FoundFile

_log = logging.getLogger(__name__)


class Bringing:
    """Acts for sources, by whose names the audit log tells of it. ``on_change`` hears that there may be a rollout."""

    def __init__(
        self, database: Database, nodes: Nodes, artifacts: Artifacts, *, on_change: Callable[[], None]
    ) -> None:
        self._database = database
        self._on_change = on_change
        self._nodes = nodes
        self._artifacts = artifacts

    async def bring(self, source: Source, answer: Answer, *, is_forced: bool) -> None:
        """Make a version of what was found. A refusal is written down, and what was found left alone until it changes.

        Raises:
            PenstockError: it can't be written down.
        """
        with _acting_for(source):
            try:
                for file in answer.files:
                    await self._store(file)
                wanted = _version(source, answer)
                copies = await self._copies(wanted)
                await self._database.write(
                    sources.bring, source, wanted, copies, seen=answer.fingerprint, is_forced=is_forced
                )
            except (UnavailableError, AbortedError) as error:  # the next look tries again
                await self._database.write(sources.note_failure, source.id, error.message)
            except PenstockError as error:
                about = {"seen": answer.fingerprint, "revision": answer.revision, "why": error.message}
                await self._database.write(sources.note_refusal, source.id, **about)

    async def deliver(self, source: Source) -> None:
        """Take the next step for the version that a source brought.

        Raises:
            UnavailableError: the database can't be reached, or another registry writes.
        """
        with _acting_for(source):
            try:
                await self._nodes.write(delivering.deliver, source)
                self._on_change()
            except UnavailableError:
                raise
            except AbortedError as error:
                _log.info("delivering what %s brought is tried again: %s", source.name, error)
            except PenstockError as error:
                await self._database.write(delivering.refuse, source, error.message)

    async def _store(self, file: FoundFile) -> None:
        held = await self._artifacts.start_upload(file.sha256, file.size_bytes)
        chunks = _chunks(Path(file.path), offset=held)
        await self._artifacts.receive(file.sha256, file.size_bytes, offset=held, chunks=chunks)

    async def _copies(self, version: ModelVersion) -> dict[str, bytes]:
        """Of the files that a version is judged by."""
        copies = {}
        for sha256, most_bytes in trusting.needed(version):
            if (content := await self._artifacts.read(sha256, most_bytes=most_bytes)) is not None:
                copies[sha256] = content
        return copies


@contextlib.contextmanager
def _acting_for(source: Source) -> Iterator[None]:
    token = callers.enter(Caller(actor=source.name))
    try:
        yield
    finally:
        callers.leave(token)


async def _chunks(path: Path, *, offset: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _version(source: Source, answer: Answer) -> ModelVersion:
    """What is asked for of what was found."""
    return ModelVersion(
        model=source.model,
        number=0,
        files=tuple(Artifact(one.sha256, one.size_bytes, one.place) for one in answer.files),
        format=ids.check_format(source.format),
        trusted=source.trust.is_trusted,
        manifest=answer.manifest or source.manifest,
        metrics=answer.metrics,
        labels={name[:MAX_LABEL]: value[:MAX_LABEL] for name, value in answer.labels.items()},
        lineage=Lineage(origin=answer.origin, revision=answer.revision, facts=answer.facts),
    )
