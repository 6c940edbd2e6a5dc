"""Models on this node: a cache by content, filled from the registry."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import grpc

from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common import model_paths
from services.common.errors import DataLossError, PenstockError, ResourceExhaustedError, UnavailableError
from services.common.status import error_from_code
from services.inference.backends import PRODUCT
from services.inference.domain.content import Content

_log = logging.getLogger(__name__)

_SILENCE_S = 30.0
_TAKEN_S = 0.1
_BLOCK = 1 << 20
_PARTIAL = "partial"
"""The folder of files that are not whole yet."""
_MODELS = "models"
"""The folder of models, by their digests, and of what is made of them."""


class ArtifactCache:
    """Content named by its SHA-256 below a folder, and models put together of it; what is there is whole and verified.

    A model's files are further links to the content.
    """

    def __init__(self, folder: Path, stub: RegistryServiceStub) -> None:
        """The folder is made with the first file."""
        self._folder = folder
        self._stub = stub
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def path_of(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def root_of(self, digest: str) -> Path:
        """The folder of a model."""
        return self._folder / _MODELS / digest

    def has_product(self, digest: str) -> bool:
        """Whether native code was made here of a model."""
        return any(self.root_of("").glob(f"{digest}{PRODUCT}*.pt2"))

    @property
    def size_bytes(self) -> int:
        size = 0
        for path in (*self._files(), *self._products()):
            with contextlib.suppress(FileNotFoundError):  # it may be removed meanwhile, this is asked by other threads
                size += path.stat().st_size
        return size

    def _files(self) -> list[Path]:
        found = (path for pattern in ("[0-9a-f][0-9a-f]/*", f"{_PARTIAL}/*") for path in self._folder.glob(pattern))
        return [path for path in found if path.is_file()]

    def _products(self) -> list[Path]:
        return list(self._folder.glob(f"{_MODELS}/*{PRODUCT}*"))

    async def fetch(self, content: Content, on_progress: Callable[[float], None] = lambda _: None) -> Path:
        """The model's folder, its files downloaded first where they are missing; an interrupted download is resumed.

        ``on_progress`` gets the share that is there, 0 to 1.

        Raises:
            UnavailableError, NotFoundError: the registry is away, or doesn't have a file.
            DataLossError: what it sent has another digest; nothing is kept.
            ResourceExhaustedError: it can't be written to this node's disk.
        """
        root, total, done = self.root_of(content.digest), max(1, content.size_bytes), 0
        if root.exists():
            return root
        for file in content.files:
            await self._fetch_file(file.sha256, partial(_progress, on_progress, done, file.size_bytes, total))
            done += file.size_bytes
        try:
            await asyncio.to_thread(self._assemble, content, root)
        except OSError as error:
            raise ResourceExhaustedError(f"can't keep the artifact on this node: {error.strerror}") from error
        return root

    def _assemble(self, content: Content, root: Path) -> None:
        """Link a model's files, elsewhere first: a folder that is there is whole."""
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder / _PARTIAL) as folder:
            made = Path(folder, "model")
            for file in content.files:
                place = made / model_paths.check(file.path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.hardlink_to(self.path_of(file.sha256))
            try:
                made.rename(root)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another agent with the same folder was faster
                    raise

    async def _fetch_file(self, sha256: str, on_progress: Callable[[float], None]) -> None:
        path = self.path_of(sha256)
        async with self._locks[sha256]:
            if path.exists():
                return
            unfinished = self._folder / _PARTIAL / sha256
            try:
                for folder in (path.parent, unfinished.parent):
                    folder.mkdir(parents=True, exist_ok=True)
                while not path.exists():
                    with unfinished.open("ab") as file:
                        if _is_taken(file, unfinished):  # by another agent with the same folder
                            await asyncio.sleep(_TAKEN_S)
                            continue
                        await self._download(sha256, file, on_progress)
                        file.flush()
                        if await asyncio.to_thread(digest_of, unfinished) != sha256:
                            unfinished.unlink()
                            raise DataLossError(
                                f"the registry's answer is not the artifact {sha256[:12]}…: its digest differs"
                            )
                        unfinished.rename(path)
            except OSError as error:
                raise ResourceExhaustedError(f"can't keep the artifact on this node: {error.strerror}") from error

    async def _download(self, sha256: str, file: BinaryIO, on_progress: Callable[[float], None]) -> None:
        offset, size = file.seek(0, os.SEEK_END), 0
        call = self._stub.DownloadArtifact(pb.DownloadArtifactRequest(sha256=sha256, offset_bytes=offset))
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    response = await call.read()
                if response is grpc.aio.EOF:
                    break
                size = response.size_bytes or size
                await asyncio.to_thread(file.write, response.chunk)
                offset += len(response.chunk)
                on_progress(min(1.0, offset / size) if size else 0.0)
        except TimeoutError:
            raise UnavailableError(f"the registry sent nothing for {_SILENCE_S:.0f} s") from None
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                file.truncate(0)
            raise _error_of(error) from error
        finally:
            call.cancel()

    def keep_only(self, contents: Iterable[Content]) -> None:
        """Remove what no version has any more, whole or not. A process that has a file open keeps it."""
        digests, files = set[str](), set[str]()
        for content in contents:
            digests.add(content.digest)
            files.update(file.sha256 for file in content.files)
        for path in self._folder.glob(f"{_MODELS}/*"):
            if path.name.partition(PRODUCT)[0] not in digests:
                _log.info("removing the model %s: no version has it any more", path.name)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        for path in self._files():
            if path.name not in files and not self._locks[path.name].locked():
                _log.info("removing the artifact %s: no version has it any more", path.name)
                path.unlink(missing_ok=True)


def _progress(tell: Callable[[float], None], done: int, size: int, total: int, share: float) -> None:
    tell((done + share * size) / total)


def _is_taken(file: BinaryIO, path: Path) -> bool:
    """Whether another process writes the file, or put it away just now; else it is this one's until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        return True


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _error_of(error: grpc.aio.AioRpcError) -> PenstockError:
    return error_from_code(error.code().value[0], f"the registry can't send the artifact: {error.details()}", reason="")
