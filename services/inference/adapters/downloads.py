"""Content from the registry, resumed where it broke off, and verified."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import grpc

from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.errors import DataLossError, PenstockError, UnavailableError
from services.common.status import error_from_code

_SILENCE_S = 30.0
_TAKEN_S = 0.1
_BLOCK = 1 << 20
_USELESS = (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.DATA_LOSS)
"""What the registry answers where the bytes that are here are of no use."""


class Download:
    """Gets one file to ``path``, by way of ``unfinished``, which is locked against other agents with this folder."""

    def __init__(self, stub: RegistryServiceStub, sha256: str, *, path: Path, unfinished: Path) -> None:
        self._stub = stub
        self._sha256 = sha256
        self._path = path
        self._unfinished = unfinished

    async def run(self, on_progress: Callable[[float], None]) -> None:
        """Return when the content is there, whole.

        Raises:
            UnavailableError, NotFoundError: the registry is away, or doesn't have it; what came is kept.
            DataLossError: what it sent has another digest; nothing is kept.
            OSError: it can't be written.
        """
        for folder in (self._path.parent, self._unfinished.parent):
            folder.mkdir(parents=True, exist_ok=True)
        while not self._path.exists():
            with self._unfinished.open("ab") as file:
                if _is_taken(file, self._unfinished):
                    await asyncio.sleep(_TAKEN_S)
                    continue
                await self._receive(file, on_progress)
                await asyncio.to_thread(self._finish, file)

    async def _receive(self, file: BinaryIO, on_progress: Callable[[float], None]) -> None:
        offset, size = file.seek(0, os.SEEK_END), 0
        call = self._stub.DownloadArtifact(pb.DownloadArtifactRequest(sha256=self._sha256, offset_bytes=offset))
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
            if error.code() in _USELESS:
                file.truncate(0)
            raise _error_of(error) from error
        finally:
            call.cancel()

    def _finish(self, file: BinaryIO) -> None:
        file.flush()
        if digest_of(self._unfinished) != self._sha256:
            self._unfinished.unlink()
            raise DataLossError(f"the registry's answer is not the artifact {self._sha256[:12]}…: its digest differs")
        os.fsync(file.fileno())  # a name must not outlive a power failure that its content doesn't
        self._unfinished.rename(self._path)


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
