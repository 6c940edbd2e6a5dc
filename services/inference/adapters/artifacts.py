"""Models on this node: a cache by content with a limit, filled from the registry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.errors import ResourceExhaustedError
from services.inference.adapters.cache_folder import CacheFolder
from services.inference.adapters.downloads import Download
from services.inference.adapters.integrity import Integrity
from services.inference.domain.content import Content

_log = logging.getLogger(__name__)

_SHARE = 0.9
"""Of what other files leave of the disk, where no limit is set."""


class ArtifactCache:
    """What is fetched stays until its room is needed, or no version has it; what is held stays in any case.

    What was not held for the longest time goes first. Looking whether a model is there, putting one together and
    removing some exclude each other.
    """

    def __init__(self, folder: Path, stub: RegistryServiceStub, *, limit_bytes: int = 0) -> None:
        """The folder is made with the first file. ``limit_bytes`` 0 leaves a tenth of the free disk to others."""
        self._folder = CacheFolder(folder)
        self._integrity = Integrity(self._folder)
        self._stub = stub
        self._limit_bytes = limit_bytes
        self._held: Counter[Content] = Counter()
        self._fetching: list[Content] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of models and files, by their digests, for as long as somebody has one or waits for it."""
        self._room = asyncio.Lock()
        self._is_cleared = False
        self.evictions = 0
        """How many models had to make room."""
        self.repairs = 0
        """How many were found damaged, and fetched again."""

    def has_product(self, digest: str) -> bool:
        """Whether native code was made here of a model."""
        return self._folder.has_product(digest)

    @property
    def size_bytes(self) -> int:
        return self._folder.size_bytes

    @property
    def limit_bytes(self) -> int:
        """How large it may get."""
        return self._limit_bytes or int((self._folder.size_bytes + self._folder.free_bytes) * _SHARE)

    @property
    def free_bytes(self) -> int:
        """How much it could take besides what is held, if everything else made room."""
        held = sum({file.sha256: file.size_bytes for one in self._held for file in one.files}.values())
        return max(0, min(self.limit_bytes, self._folder.size_bytes + self._folder.free_bytes) - held)

    @contextlib.contextmanager
    def hold(self, content: Content) -> Iterator[None]:
        """Keep a model from being removed, once it is fetched, for as long as it is used."""
        self._held[content] += 1
        try:
            yield
        finally:
            self._folder.touch(content.digest)
            self._held -= Counter((content,))

    async def fetch(self, content: Content, on_progress: Callable[[float], None] = lambda _: None) -> Path:
        """The model's folder, its files downloaded first where they are missing; an interrupted download is resumed.

        What is there is hashed once in this process' life, and again if it was changed since, or after :meth:`doubt`;
        what is damaged is downloaded again. ``on_progress`` gets the share that is there, 0 to 1.

        Raises:
            UnavailableError, NotFoundError: the registry is away, or doesn't have a file.
            DataLossError: what it sent has another digest; nothing is kept.
            ResourceExhaustedError: there is no room for it, even without all that is not held; or the disk is full.
        """
        root = self._folder.model(content.digest)
        async with self._room:
            self._folder.touch(content.digest)
            self._fetching.append(content)
        try:
            async with self._lock(f"model {content.digest}"):
                await self._mend(content)
                if not root.exists():
                    await self._download(content, on_progress)
        except OSError as error:
            raise ResourceExhaustedError(f"can't keep the artifact on this node: {error.strerror}") from error
        finally:
            self._fetching.remove(content)
        return root

    def doubt(self, content: Content) -> None:
        """Have a model hashed before it is used again: it didn't load."""
        self._integrity.doubt(content)

    async def _mend(self, content: Content) -> None:
        if await asyncio.to_thread(self._integrity.mend, content):
            self.repairs += 1
            _log.warning("the model %s was damaged on this node's disk: fetching it again", content.digest)

    async def _download(self, content: Content, on_progress: Callable[[float], None]) -> None:
        await self._make_room(content)
        total, done = max(1, content.size_bytes), 0
        for file in content.files:
            await self._fetch_file(file.sha256, partial(_progress, on_progress, done, file.size_bytes, total))
            done += file.size_bytes
        async with self._room:
            await asyncio.to_thread(self._folder.assemble, content)
            self._integrity.note(content)

    async def _fetch_file(self, sha256: str, on_progress: Callable[[float], None]) -> None:
        path = self._folder.content(sha256)
        async with self._lock(sha256):
            if not path.exists():
                await Download(self._stub, sha256, path=path, unfinished=self._folder.partial(sha256)).run(on_progress)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _make_room(self, content: Content) -> None:
        async with self._room:
            self.evictions += await asyncio.to_thread(self._evict, content, self._digests_held(), list(self._fetching))

    def _digests_held(self) -> set[str]:
        return {content.digest for content in self._held}

    def _evict(self, content: Content, held: set[str], fetching: list[Content]) -> int:
        """Remove what is needed least until all that is being fetched fits; the number of models that had to go."""
        limit, missing = self.limit_bytes, self._folder.missing_bytes(fetching)
        if content.size_bytes > limit:
            raise ResourceExhaustedError(
                f"got a model of {content.size_bytes} bytes, expected at most {limit}, which is all that this node's "
                "cache may take"
            )
        wanted = {file.sha256 for one in fetching for file in one.files}
        kept = held | {one.digest for one in fetching}
        victims = [digest for digest in self._folder.models() if digest not in kept]
        count = 0
        while (size := self._folder.size_bytes) + missing > limit or self._folder.free_bytes < missing:
            if loose := self._loose(wanted):
                for path in loose:
                    path.unlink(missing_ok=True)
            elif victims:
                _log.info("removing the model %s: its room is needed", victims[0])
                self._folder.remove_model(victims.pop(0))
                count += 1
            else:
                raise ResourceExhaustedError(
                    f"no room for {missing} bytes of models on this node: {size} of the cache's {limit} bytes are in "
                    f"use, and {self._folder.free_bytes} bytes of its disk are free"
                )
        return count

    def _loose(self, wanted: set[str]) -> list[Path]:
        """Content that no model has, whole or not, and nobody is about to make one of."""
        return [one for one in self._folder.files() if one.name not in wanted and not self._folder.is_shared(one)]

    async def keep_only(self, contents: Iterable[Content]) -> None:
        """Remove what no version has any more, whole or not, unless it is held."""
        async with self._room:
            needed = [*contents, *self._fetching]
            digests = {content.digest for content in needed} | self._digests_held()
            files = {file.sha256 for content in needed for file in content.files}
            self._integrity.keep_only(files)
            await asyncio.to_thread(self._tidy, digests, files)

    def _tidy(self, digests: set[str], files: set[str]) -> None:
        if not self._is_cleared:
            self._folder.clear()
            self._is_cleared = True
        for digest in self._folder.models():
            if digest not in digests:
                _log.info("removing the model %s: no version has it any more", digest)
                self._folder.remove_model(digest)
        for path in self._folder.files():
            if path.name not in files and not self._folder.is_shared(path):
                _log.info("removing the artifact %s: no version has it any more", path.name)
                path.unlink(missing_ok=True)


def _progress(tell: Callable[[float], None], done: int, size: int, total: int, share: float) -> None:
    tell((done + share * size) / total)
