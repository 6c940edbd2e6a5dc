"""Where whole content is kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit


def new_key(sha256: str) -> str:
    """A place for content that nothing ever had, so that a removal of the former one that comes late harms nothing."""
    return f"{sha256[:2]}/{sha256}.{secrets.token_hex(4)}"


class Reader(Protocol):
    """Opened content. ``block_bytes`` is how much it is best to read at once."""

    size: int
    block_bytes: int

    async def read(self, offset: int, count: int) -> bytes:
        """Bytes from an offset on; fewer than ``count`` at the end only."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fragment:
    """Content that is being stored under a key, or was until that was cut off. ``id`` is the store's name for it."""

    key: str
    id: str


class ContentStore(Protocol):
    """Content under keys, each written once, in one step, and never changed.

    All methods raise :class:`~services.common.errors.UnavailableError` when the store can't be asked, or refuses.
    """

    async def find_size(self, key: str) -> int | None:
        """Size in bytes; None where there is nothing under the key."""
        ...

    async def put(self, source: Path, key: str) -> None:
        """Store a file's content. Cut off in the middle there is nothing under the key."""
        ...

    async def open(self, key: str) -> Reader:
        """Open content for reading. The caller closes it.

        Raises:
            NotFoundError: there is none under the key.
        """
        ...

    async def remove(self, key: str) -> None:
        """Remove content, if it is there."""
        ...

    async def find_fragments(self, *, before_ns: int) -> list[Fragment]:
        """What was begun to be stored before an instant, and is not whole."""
        ...

    async def remove_fragment(self, fragment: Fragment) -> None: ...

    def close(self) -> None: ...


def staging_folder(location: str, home: Path) -> Path:
    """Where uploads are put together: on the disk where content is kept, or below the registry's folder."""
    return Path(location) if location and "://" not in location else home / "artifacts"


def open_store(location: str, home: Path) -> ContentStore:
    """The store at a location, a folder or a URL; empty: a folder below the registry's.

    Raises:
        ValueError: it is no place that is known, or its library is missing.
    """
    if "://" not in location:
        from services.registry.adapters.local_store import LocalStore

        return LocalStore(staging_folder(location, home))
    url = urlsplit(location)
    if "@" in url.netloc:  # not repeated: it may hold a password
        raise ValueError("got credentials in the URL of artifacts, expected them where its provider's tools look")
    if url.scheme not in ("s3", "gs") or not url.netloc or url.query or url.fragment:
        raise ValueError(f"got artifacts {location}, expected a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    from services.registry.adapters.remote_store import RemoteStore

    return RemoteStore(url.scheme, bucket=url.netloc, prefix=url.path.strip("/"))
