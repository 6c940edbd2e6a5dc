"""A path that DVC tracks, as of a commit: its content has digests of its own, and is verified by them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.registry.source_check.places import Place
from services.registry.source_check.trees import MOST_FILES, Entry, Listing, PlaceError, UnsettledError


def open_place(fields: Mapping[str, str], _scratch: Path) -> Place:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    repository, path = fields["repository"], fields["path"].strip("/")
    try:
        # What is committed: a working tree may be in the middle of anything.
        files = DVCFileSystem(repository, rev=fields.get("revision") or "HEAD")
        commit = files.repo.get_rev()
    except (DvcException, SCMError) as error:
        raise PlaceError(f"DVC can't open {repository}: {error}") from None
    return Place(
        tree=DvcTree(files, path),
        origin=f"{repository}#{path}",
        revision=commit,
        facts={
            "git_commit": commit,
            "dvc_revision": fields.get("revision") or "HEAD",
            "dvc_repository": repository,
            "dvc_path": path,
        },
    )


class DvcTree:
    """What is tracked below a path of a commit, in DVC's cache or in a remote."""

    def __init__(self, files: Any, path: str) -> None:
        self._files = files
        self._path = path
        self._digests: dict[str, str] = {}

    def list(self) -> Listing:
        found: dict[str, Entry] = {}
        try:
            listed = self._files.find(self._path, detail=True)
        except FileNotFoundError:
            raise PlaceError(f"DVC knows no {self._path} there") from None
        for name, info in listed.items():
            place = name.strip("/").removeprefix(f"{self._path}/") if name.strip("/") != self._path else Path(name).name
            size = info.get("size")  # DVC doesn't know it for files of a folder
            self._digests[place] = str(info.get("md5") or "")
            found[place] = Entry(-1 if size is None else int(size), self._digests[place])
        if not found:
            raise PlaceError(f"DVC knows no {self._path} there")
        if len(found) > MOST_FILES:
            raise PlaceError(f"{self._path} holds more than {MOST_FILES} files, expected a model")
        return found

    def copy(self, place: str, target: Path) -> None:
        is_alone = Path(self._path).name == place and self._files.isfile(self._path)
        path = self._path if is_alone else f"{self._path}/{place}"
        try:
            self._files.get_file(path, str(target))
        except FileNotFoundError:
            raise PlaceError(f"{place} is neither in DVC's cache nor in a remote: push it first") from None
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if (expected := self._digests[place]) and digest != expected:
            raise UnsettledError(f"{place} has the digest {digest}, DVC expects {expected}")
