"""What happens to content: upload and download."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from services.common.errors import AbortedError, DataLossError, InvalidArgumentError, NotFoundError, OutOfRangeError
from services.registry.adapters import artifact_rows
from services.registry.adapters.content_store import ContentStore, Reader, new_key
from services.registry.adapters.database import Database
from services.registry.adapters.staging import Staging, Upload
from services.registry.adapters.threads import run_in
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids
from services.registry.domain.garbage import Stored

CHUNK_BYTES = 1 << 20
"""Size of the pieces that content is sent in."""

MAX_CHUNK_BYTES = 4 << 20
"""Size of the largest piece that is taken."""

STORING_NS = 24 * 3600 * 10**9
"""What takes longer to store than that may be taken for something that was cut off."""

_THREADS = 4
_STORE_WAIT_S = 3.0


class Artifacts:
    """Receives and sends content; files are written and hashed in threads.

    Uploads are put together on this registry's disk and checked there. Only then are they stored, under a key of their
    own: the key is written down, the content is stored, and the database says that it is the content with this
    digest. So whatever ends in between, what is stored is content or garbage, and the upload is there to go on with.
    """

    def __init__(self, staging: Staging, store: ContentStore, database: Database, *, grace_ns: int) -> None:
        """``grace_ns`` is how long content is kept for whom it was promised to, until a version names it."""
        self._staging = staging
        self._store = store
        self._database = database
        self._grace_ns = grace_ns
        self._threads = ThreadPoolExecutor(_THREADS, "registry-files")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._publications: dict[str, asyncio.Task[None]] = {}

    def is_receiving(self, sha256: str) -> bool:
        """Whether somebody is sending the content just now, or it is on its way to the store."""
        lock = self._locks.get(sha256)
        return sha256 in self._publications or (lock is not None and lock.locked())

    async def start_upload(self, sha256: str, size_bytes: int) -> int:
        """Bytes that are held already; all of them when the content is known, or still has to be stored only.

        Raises:
            ResourceExhaustedError: the rest won't fit on the disk.
        """
        _check_upload(sha256, size_bytes)
        if await self._is_stored(sha256, size_bytes):
            return size_bytes
        held = self._staging.find_held_bytes(sha256)
        if held >= size_bytes:
            # The registry was stopped, or its store was away, between the last byte and the verdict.
            with contextlib.suppress(DataLossError, TimeoutError):
                async with asyncio.timeout(_STORE_WAIT_S):
                    await self.receive(sha256, size_bytes, offset=size_bytes, chunks=_nothing())
                    return size_bytes
            held = self._staging.find_held_bytes(sha256)
        self._staging.check_room(size_bytes - held)
        return held

    async def receive(self, sha256: str, size_bytes: int, *, offset: int, chunks: AsyncIterator[bytes]) -> None:
        """Receive content from ``offset`` on, and store it. When cancelled, what has arrived is kept to go on from.

        An upload of what another stream is sending waits for that one.

        Raises:
            AbortedError: StartUpload must be asked where to go on.
            DataLossError: the content is another than announced; nothing is kept.
            ResourceExhaustedError: the disk is full; nothing is kept.
            UnavailableError: it can't be stored just now; what has arrived is kept.
        """
        _check_upload(sha256, size_bytes)
        if not 0 <= offset <= size_bytes:
            raise InvalidArgumentError(f"got offset_bytes {offset}, expected 0 to {size_bytes}")
        lock = self._locks.setdefault(sha256, asyncio.Lock())
        async with lock:
            if await self._is_stored(sha256, size_bytes):
                return
            if self._staging.find_verified(sha256) is None:
                await self._fill(sha256, size_bytes, offset=offset, chunks=chunks)
            await self._publish(sha256)

    async def _is_stored(self, sha256: str, size_bytes: int) -> bool:
        """Whether the content is there; if so it is kept for the caller, who is promised so."""
        stored = await self._database.write(_keep, sha256, grace_ns=self._grace_ns)
        if stored is None or await self._store.find_size(stored.key) is None:
            return False
        if stored.size_bytes != size_bytes:
            raise InvalidArgumentError(
                f"got size_bytes {size_bytes}, the content with SHA-256 {sha256} has {stored.size_bytes}"
            )
        return True

    async def _fill(self, sha256: str, size_bytes: int, *, offset: int, chunks: AsyncIterator[bytes]) -> None:
        upload: Upload = await run_in(self._threads, self._staging.open_upload, sha256, size_bytes, offset=offset)
        try:
            async for chunk in chunks:
                _check_chunk(chunk)
                await run_in(self._threads, upload.write, chunk)
            await run_in(self._threads, upload.verify)
            await run_in(self._threads, self._staging.accept, upload)
        finally:
            upload.close()

    async def _publish(self, sha256: str) -> None:
        """Store a whole upload. That goes on when the caller is gone: the next one finds it done."""
        if (task := self._publications.get(sha256)) is None:
            task = self._publications[sha256] = asyncio.create_task(self._put(sha256), name=f"store {sha256}")
            task.add_done_callback(lambda _: self._publications.pop(sha256))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)

    async def _put(self, sha256: str) -> None:
        if (source := self._staging.find_verified(sha256)) is None:
            if await self._database.read(artifact_rows.find, sha256):
                return  # for whoever asked before
            raise AbortedError(f"the upload of {sha256} was removed: call StartUpload again")
        stored = Stored(sha256, source.stat().st_size, new_key(sha256))
        await self._database.write(_announce, stored)
        await self._store.put(source, stored.key)
        await self._database.write(_note, stored, grace_ns=self._grace_ns)
        self._staging.discard(sha256)

    async def can_send(self, sha256: str) -> bool:
        """Whether this registry can read the content, whichever one wrote it."""
        stored = await self._database.read(artifact_rows.find, ids.check_sha256(sha256))
        return stored is not None and await self._store.find_size(stored.key) is not None

    async def send(self, sha256: str, *, offset: int) -> AsyncGenerator[tuple[int, bytes]]:
        """The content from ``offset`` on, in pieces, each with the size of the whole; at least one piece.

        Sent from its beginning it is checked: the last piece only comes if all are what was stored.

        Raises:
            NotFoundError: there is no such content.
            DataLossError: it was damaged where it is stored.
        """
        ids.check_sha256(sha256)
        if offset < 0:
            raise InvalidArgumentError(f"got offset_bytes {offset}, expected 0 or more")
        if (stored := await self._database.read(artifact_rows.find, sha256)) is None:
            raise NotFoundError(f"content with SHA-256 {sha256} is not stored")
        with contextlib.closing(await self._store.open(stored.key)) as reader:
            if offset > reader.size:
                raise OutOfRangeError(f"got offset_bytes {offset}, expected at most the content's size, {reader.size}")
            digest, position = hashlib.sha256(), offset
            async for block in _read_ahead(reader, offset):
                position += len(block)
                if not offset:
                    await run_in(self._threads, digest.update, block)
                    if position >= reader.size and digest.hexdigest() != sha256:
                        raise DataLossError(f"the content stored with SHA-256 {sha256} is damaged: upload it again")
                for at in range(0, len(block) or 1, CHUNK_BYTES):
                    yield reader.size, block[at : at + CHUNK_BYTES]

    async def read(self, sha256: str, *, most_bytes: int) -> bytes | None:
        """All of some content; None where it isn't stored, or is larger."""
        stored = await self._database.read(artifact_rows.find, ids.check_sha256(sha256))
        if stored is None or stored.size_bytes > most_bytes:
            return None
        return b"".join([chunk async for _, chunk in self.send(sha256, offset=0)])

    async def close(self) -> None:
        """Break off what is being stored; its uploads stay to go on with."""
        for task in (tasks := list(self._publications.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown()
        self._store.close()


async def _read_ahead(reader: Reader, offset: int) -> AsyncGenerator[bytes]:
    """Blocks from an offset on, at least one; the next one is read while the last one is used."""
    position = offset
    reading = asyncio.ensure_future(reader.read(position, reader.block_bytes))
    try:
        while True:
            block = await reading
            position += len(block)
            is_last = not block or position >= reader.size
            if not is_last:
                reading = asyncio.ensure_future(reader.read(position, reader.block_bytes))
            yield block
            if is_last:
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


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


def _keep(tx: Transaction, sha256: str, *, grace_ns: int) -> Stored | None:
    return artifact_rows.keep(tx, sha256, until_ns=tx.now_ns + grace_ns)


def _announce(tx: Transaction, stored: Stored) -> None:
    artifact_rows.announce(tx, stored, until_ns=tx.now_ns + STORING_NS)


def _note(tx: Transaction, stored: Stored, *, grace_ns: int) -> None:
    artifact_rows.note(tx, stored, until_ns=tx.now_ns + grace_ns)
