"""Content in a bucket of S3 or Google Cloud Storage, by fsspec."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.common.errors import NotFoundError, UnavailableError
from services.registry.adapters.content_store import Fragment

_log = logging.getLogger(__name__)

_CALL_S = 15.0
_READ_S = 60.0
_SLOWEST_BYTES_PER_S = 1 << 18
_PART_BYTES = 16 << 20
_MOST_PARTS = 10_000
"""S3's limit: parts of what is larger have to be larger."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "max_concurrency": 4,
        "config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 2}},
    },
    "gs": {"consistency": "md5"},
}
_TALKATIVE = ("aiobotocore", "botocore", "gcsfs", "google.auth", "urllib3")
"""They log whole requests, with tokens, where a process logs everything."""

_EXTRAS = {"s3": "s3", "gs": "gcs"}


class RemoteStore:
    """Objects below a prefix of a bucket. They appear whole or not at all, so that storing needs no second step.

    fsspec has an event loop in a thread of its own, so that what it does there holds nobody up here. Credentials are
    its libraries' affair.
    """

    def __init__(self, scheme: str, *, bucket: str, prefix: str) -> None:
        """Raises: ValueError: the scheme's library is missing, or can't be set up."""
        self._name = f"{scheme}://{bucket}"
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._files = _file_system(scheme)

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._prefix}{key}"

    async def find_size(self, key: str) -> int | None:
        try:
            return int((await self._call("info", self._path(key)))["size"])
        except FileNotFoundError:
            await self._check_bucket()
            return None

    async def put(self, source: Path, key: str) -> None:
        size = (await asyncio.to_thread(source.stat)).st_size
        options = {"chunksize": max(_PART_BYTES, _mebibytes(size / _MOST_PARTS))}
        limit_s = _READ_S + size / _SLOWEST_BYTES_PER_S
        try:
            await self._call("put_file", str(source), self._path(key), limit_s=limit_s, **options)
        except FileNotFoundError:
            await self._check_bucket()
            raise UnavailableError(f"{self._name} lost what was sent of the content, try again") from None
        if (stored := await self.find_size(key)) != size:
            raise UnavailableError(f"{self._name} stored {stored} bytes of {size}, try again")

    async def open(self, key: str) -> RemoteReader:
        size = await self.find_size(key)
        if size is None:
            raise NotFoundError(f"the content is not in {self._name} any more")
        return RemoteReader(self._read, key, size)

    async def _read(self, key: str, offset: int, count: int) -> bytes:
        try:
            read: bytes = await self._call(
                "cat_file", self._path(key), start=offset, end=offset + count, limit_s=_READ_S
            )
        except FileNotFoundError:
            raise NotFoundError(f"the content is not in {self._name} any more") from None
        return read

    async def remove(self, key: str) -> None:
        try:
            await self._call("rm_file", self._path(key))
        except FileNotFoundError:
            await self._check_bucket()

    async def find_fragments(self, *, before_ns: int) -> list[Fragment]:
        """Multi-part uploads of S3: they are invisible, and paid for. GCS forgets its own after a week."""
        if not hasattr(self._files, "_call_s3"):
            return []
        found = await self._call("call_s3", "list_multipart_uploads", Bucket=self._bucket, Prefix=self._prefix)
        before = datetime.fromtimestamp(before_ns / 1e9, UTC)
        uploads = [one for one in found.get("Uploads", []) if one["Initiated"] < before]
        return [Fragment(one["Key"].removeprefix(self._prefix), one["UploadId"]) for one in uploads]

    async def remove_fragment(self, fragment: Fragment) -> None:
        key = self._prefix + fragment.key
        with contextlib.suppress(FileNotFoundError):
            await self._call("call_s3", "abort_multipart_upload", Bucket=self._bucket, Key=key, UploadId=fragment.id)

    def close(self) -> None:
        """Its connections end with the process."""

    async def _check_bucket(self) -> None:
        """Raises: UnavailableError: the bucket is not there, so that nothing can be said of what is in it."""
        try:
            await self._call("info", self._bucket)
        except FileNotFoundError:
            raise UnavailableError(f"there is no bucket {self._name} (any more), where content is kept") from None

    async def _call(self, name: str, *args: Any, limit_s: float = _CALL_S, **options: Any) -> Any:
        """What a coroutine of the file system returns; fsspec names them with an underscore before.

        Raises:
            FileNotFoundError: there is no such object or bucket.
            UnavailableError: everything else that went wrong.
        """

        async def run() -> Any:
            return await getattr(self._files, f"_{name}")(*args, **options)

        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._files.loop))
        except FileNotFoundError:
            raise
        except TimeoutError as error:
            raise UnavailableError(f"{self._name}, where content is kept, did not answer in time") from error
        except PermissionError as error:
            _log.warning("%s refused: %s", self._name, error)
            raise UnavailableError(
                f"{self._name}, where content is kept, refuses the registry's credentials"
            ) from error
        except Exception as error:  # what the libraries below raise has no common base
            kind = type(error).__name__
            _log.warning("%s failed: %s: %s", self._name, kind, error)
            raise UnavailableError(f"{self._name}, where content is kept, can't be used just now ({kind})") from error


class RemoteReader:
    block_bytes = 8 << 20

    def __init__(self, read: Callable[[str, int, int], Awaitable[bytes]], key: str, size: int) -> None:
        self._read = read
        self._key = key
        self.size = size

    async def read(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        return await self._read(self._key, offset, count) if count else b""

    def close(self) -> None:
        """Nothing is held open."""


def _mebibytes(count: float) -> int:
    return math.ceil(count / (1 << 20)) << 20


def _file_system(scheme: str) -> Any:
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        import fsspec

        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **_OPTIONS[scheme])
    except ImportError as error:
        extra = _EXTRAS[scheme]
        raise ValueError(f"{scheme}:// needs a package more, expected penstock[{extra}] to be installed") from error
