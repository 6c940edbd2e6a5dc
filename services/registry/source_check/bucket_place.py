"""Objects below a prefix of a bucket, by fsspec, laid out as in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from services.registry.source_check.folder_place import newest_number
from services.registry.source_check.places import Place
from services.registry.source_check.trees import MOST_FILES, Entry, Listing, PlaceError, UnsettledError

_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 2}}},
    "gs": {"consistency": "md5"},
}


def open_place(fields: Mapping[str, str], _scratch: Path) -> Place:
    uri = fields["uri"].rstrip("/")
    scheme, _, root = uri.partition("://")
    import fsspec

    files = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **_OPTIONS[scheme])
    number = _newest(files, root, uri)
    if number is None:
        return Place(tree=BucketTree(files, root, uri), origin=uri)

    def check_same() -> None:
        if _newest(files, root, uri) != number:
            raise UnsettledError(f"there is a newer folder than {number}")

    return Place(
        tree=BucketTree(files, f"{root}/{number}", uri),
        origin=f"{uri}/{number}",
        revision=number,
        identity=number,
        check_same=check_same,
    )


class BucketTree:
    """Objects below a prefix. They appear whole, each of them: that all are there is for the looks to tell."""

    def __init__(self, files: Any, root: str, uri: str) -> None:
        self._files = files
        self._root = root
        self._uri = uri

    def list(self) -> Listing:
        found: dict[str, Entry] = {}
        for path, info in _listed(self._files, self._root, self._uri).items():
            place = path.removeprefix(f"{self._root}/") if path != self._root else path.rpartition("/")[2]
            if info["type"] == "file" and not place.endswith("/"):
                found[place] = Entry(int(info["size"]), _stamp(info), _changed_s(info))
        if len(found) > MOST_FILES:
            raise PlaceError(f"{self._uri} holds more than {MOST_FILES} objects, expected a model")
        return found

    def copy(self, place: str, target: Path) -> None:
        is_alone = self._root.rpartition("/")[2] == place and self._files.isfile(self._root)
        path = self._root if is_alone else f"{self._root}/{place}"
        try:
            self._files.get_file(path, str(target))
        except FileNotFoundError:
            raise UnsettledError(f"{place} is gone") from None
        except OSError as error:
            raise PlaceError(f"{place} can't be copied: {error}") from None


def _listed(files: Any, root: str, uri: str) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = files.find(root, detail=True)
    except FileNotFoundError:
        raise PlaceError(f"there is no bucket for {uri}") from None
    except PermissionError:
        raise PlaceError(f"{uri} refuses the registry's credentials") from None
    if not found and not files.exists(root.partition("/")[0]):
        raise PlaceError(f"there is no bucket for {uri}")
    return found


def _newest(files: Any, root: str, uri: str) -> str | None:
    """The highest number of a folder with objects, where there are only such."""
    places = [path.removeprefix(f"{root}/") for path in _listed(files, root, uri) if path != root]
    folders = {place.partition("/")[0] for place in places if "/" in place}
    if any("/" not in place for place in places):
        return None
    return newest_number([(name, True) for name in folders])


def _stamp(info: Mapping[str, Any]) -> str:
    """What the store calls this content: a version, a generation or a digest, and when it was written."""
    names = ("ETag", "etag", "VersionId", "generation", "md5Hash", "LastModified", "updated")
    return " ".join(str(info[name]) for name in names if info.get(name))


def _changed_s(info: Mapping[str, Any]) -> float:
    written = info.get("LastModified")
    return written.timestamp() if isinstance(written, datetime) else 0.0
