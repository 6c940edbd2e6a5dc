"""Sending a model's files to the registry, from where an interrupted attempt ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from penstock import errors, model_files
from penstock.channels import Channel
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import Artifact

Progress = Callable[[int, int], None]
"""Called with the bytes that are sent and the bytes that there are."""


def ignore(*_: object) -> None:
    """Make no use of what is told."""


CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_PAUSE_S = 0.5


def upload(channel: Channel, path: Path, *, progress: Progress = ignore) -> list[Artifact]:
    """Send a model, a file or a folder; return its files as the registry stored them.

    Content that the registry holds already is not sent again. A connection that breaks is made again, and the rest is
    sent, up to four times for each file. :func:`penstock.model_files.find` says which files are sent.

    Raises:
        OSError: a file can't be read.
        ValueError: there is nothing in it, or something that is no regular file.
        DataLossError: a file changed while it was sent.
    """
    places = model_files.find(path)
    sizes = {place: _size(file) for place, file in places.items()}
    if not any(sizes.values()):
        raise ValueError(f"{path} is empty")
    total, done = sum(sizes.values()), 0
    sent: list[Artifact] = []
    for place, file in places.items():
        artifact = _upload_file(channel, file, partial(_tell, progress, done, total))
        artifact.path = place
        sent.append(artifact)
        done += sizes[place]
    return sent


def _tell(progress: Progress, done: int, total: int, part: int) -> None:
    progress(done + part, total)


def _size(path: Path) -> int:
    if not path.is_file() and path.exists():  # a pipe or a device might never end
        raise ValueError(f"{path} is no regular file")
    return path.stat().st_size


def _upload_file(channel: Channel, path: Path, progress: Callable[[int], None]) -> Artifact:
    stub = RegistryServiceStub(channel.grpc)
    digest, size = digest_of(path), path.stat().st_size
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            start = channel.call(stub.StartUpload, pb.StartUploadRequest(sha256=digest, size_bytes=size))
            messages = _messages(path, digest=digest, size=size, offset=start.committed_bytes, progress=progress)
            answer = channel.call(stub.UploadArtifact, messages, timeout_s=24 * 3600)
        except (errors.AbortedError, errors.ConnectionFailedError, errors.UnavailableError):
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_S)
        else:
            progress(size)
            artifact: Artifact = answer.artifact
            return artifact
    raise AssertionError("unreachable: the last attempt returns or raises")


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _messages(
    path: Path, *, digest: str, size: int, offset: int, progress: Callable[[int], None]
) -> Iterator[pb.UploadArtifactRequest]:
    yield pb.UploadArtifactRequest(sha256=digest, size_bytes=size, offset_bytes=offset)
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            progress(file.tell() - len(chunk))
            yield pb.UploadArtifactRequest(chunk=chunk)
