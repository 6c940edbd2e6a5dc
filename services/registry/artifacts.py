"""What happens to model files: upload, download, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from services.common.errors import DataLossError, InvalidArgumentError, OutOfRangeError
from services.registry.adapters import artifact_rows
from services.registry.adapters.artifact_store import ArtifactStore
from services.registry.adapters.database import Clock, Database
from services.registry.adapters.threads import run_in
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids

_log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""Size of the pieces that content is sent in."""

MAX_CHUNK_BYTES = 4 << 20
"""Size of the largest piece that is taken."""

KEPT_NS = 24 * 3600 * 10**9
"""How long an unfinished upload, and content that no version names yet, is kept."""

_THREADS = 4


class Artifacts:
    """Receives, sends and collects content; files are read, written and hashed in threads.

    What decides whether content exists happens in writing transactions, which run one after the other: content can't
    be collected between the moment a version is found to have it and the moment the version is stored.
    """

    def __init__(self, store: ArtifactStore, database: Database, *, clock: Clock) -> None:
        self._store = store
        self._database = database
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, "registry-files")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start_upload(self, sha256: str, size_bytes: int) -> int:
        """Bytes that are held already; all of them when the content is known.

        Raises:
            ResourceExhaustedError: the rest won't fit on the disk.
        """
        _check_upload(sha256, size_bytes)
        if await self._database.write(_keep_stored, self._store, sha256, size_bytes):
            return size_bytes
        held = self._store.find_partial_size(sha256)
        if held >= size_bytes:
            # The registry was stopped between the last byte and the verdict.
            with contextlib.suppress(DataLossError):
                await self.receive(sha256, size_bytes, offset=size_bytes, chunks=_nothing())
                return size_bytes
            held = 0
        self._store.check_room(size_bytes - held)
        return held

    async def receive(self, sha256: str, size_bytes: int, *, offset: int, chunks: AsyncIterator[bytes]) -> None:
        """Receive content from ``offset`` on. When cancelled, what has arrived is kept to go on from.

        An upload of what another stream is sending waits for that one.

        Raises:
            AbortedError: StartUpload must be asked where to go on.
            DataLossError: the content is another than announced; nothing is kept.
            ResourceExhaustedError: the disk is full; nothing is kept.
        """
        _check_upload(sha256, size_bytes)
        if not 0 <= offset <= size_bytes:
            raise InvalidArgumentError(f"got offset_bytes {offset}, expected 0 to {size_bytes}")
        lock = self._locks.setdefault(sha256, asyncio.Lock())
        async with lock:
            if not await self._database.write(_keep_stored, self._store, sha256, size_bytes):
                await self._fill(sha256, size_bytes, offset=offset, chunks=chunks)

    async def _fill(self, sha256: str, size_bytes: int, *, offset: int, chunks: AsyncIterator[bytes]) -> None:
        upload = await run_in(self._threads, self._store.open_upload, sha256, size_bytes, offset=offset)
        try:
            async for chunk in chunks:
                _check_chunk(chunk)
                await run_in(self._threads, upload.write, chunk)
            await run_in(self._threads, upload.verify)
            await self._database.write(_promote, self._store, sha256, size_bytes)
        finally:
            upload.close()

    async def send(self, sha256: str, *, offset: int) -> AsyncGenerator[tuple[int, bytes]]:
        """The content from ``offset`` on, in pieces, each with the size of the whole; at least one piece."""
        ids.check_sha256(sha256)
        if offset < 0:
            raise InvalidArgumentError(f"got offset_bytes {offset}, expected 0 or more")
        with await run_in(self._threads, self._store.open, sha256) as file:
            size = file.seek(0, 2)
            if offset > size:
                raise OutOfRangeError(f"got offset_bytes {offset}, expected at most the content's size, {size}")
            position = file.seek(offset)
            while True:
                chunk = await run_in(self._threads, file.read, CHUNK_BYTES)
                yield size, chunk
                position += len(chunk)
                if not chunk or position >= size:
                    return

    async def collect(self) -> None:
        """Remove content that no version names and nobody was promised."""
        await self._database.write(_collect, self._store)

    async def adopt(self) -> None:
        """Note content that the database doesn't know: the registry was stopped between storing and noting it."""
        digests = await run_in(self._threads, self._store.list_digests)
        await self._database.write(_adopt, self._store, digests)

    async def sweep(self) -> None:
        """Remove what was left behind: uploads nobody went on with, content nobody made a version of."""
        await run_in(self._threads, self._store.remove_stale_uploads, before_ns=self._clock() - KEPT_NS)
        await self.collect()

    def close(self) -> None:
        self._threads.shutdown()


def _check_upload(sha256: str, size_bytes: int) -> None:
    ids.check_sha256(sha256)
    if size_bytes < 0:
        raise InvalidArgumentError(f"got size_bytes {size_bytes}, expected 0 or more")


def _check_chunk(chunk: bytes) -> None:
    if len(chunk) > MAX_CHUNK_BYTES:
        raise InvalidArgumentError(f"got a chunk of {len(chunk)} bytes, expected at most {MAX_CHUNK_BYTES}")


async def _nothing() -> AsyncIterator[bytes]:
    chunks: tuple[bytes, ...] = ()
    for chunk in chunks:
        yield chunk


def _keep_stored(tx: Transaction, store: ArtifactStore, sha256: str, size_bytes: int) -> bool:
    """Whether the content is stored; if so it is kept for the caller, who was promised so."""
    size = store.find_size(sha256)
    if size is None:
        return False
    if size != size_bytes:
        raise InvalidArgumentError(f"got size_bytes {size_bytes}, the content with SHA-256 {sha256} has {size}")
    artifact_rows.keep(tx, sha256, size_bytes=size, until_ns=tx.now_ns + KEPT_NS)
    return True


def _promote(tx: Transaction, store: ArtifactStore, sha256: str, size_bytes: int) -> None:
    store.promote(sha256)
    artifact_rows.keep(tx, sha256, size_bytes=size_bytes, until_ns=tx.now_ns + KEPT_NS)


def _collect(tx: Transaction, store: ArtifactStore) -> None:
    for sha256 in artifact_rows.list_unreferenced(tx):
        try:
            store.remove(sha256)
        except OSError as error:  # one file that stays must not keep all others
            _log.warning("could not remove content %s, it is tried again: %s", sha256, error.strerror)
        else:
            artifact_rows.forget(tx, sha256)


def _adopt(tx: Transaction, store: ArtifactStore, digests: list[str]) -> None:
    for sha256 in digests:
        if artifact_rows.find_size(tx, sha256) is None:
            _keep_stored(tx, store, sha256, store.find_size(sha256) or 0)
