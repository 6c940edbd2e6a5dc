"""Artifacts of Weights & Biases that are kept on this machine: of offline runs, or downloaded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.registry.source_check.folder_place import local_place
from services.registry.source_check.places import Place
from services.registry.source_check.trees import Entry, Listing, LocalTree, PlaceError, UnsettledError

_BLOCK_BYTES = 32_768
_HEADER = struct.Struct("<IHB")
_MAGIC = b":W&B"
_MAGIC_BYTES = 7
_FULL, _FIRST, _LAST = 1, 2, 4
_KIND = "model"
_OF_ENTRY = ("path", "digest", "size", "local_path", "ref")


def open_place(fields: Mapping[str, str], _scratch: Path) -> Place:
    root, wanted = Path(fields["path"]), fields.get("artifact", "")
    runs = _runs(root)
    if not runs:
        return local_place(root)
    for log in runs:
        try:
            found = _artifact(log, wanted)
        except OSError as error:
            raise PlaceError(f"{log.name} can't be read: {error.strerror}") from None
        if found is not None:
            return _place(log, *found)
    kind = f"an artifact {wanted}" if wanted else f"an artifact of type {_KIND}"
    raise UnsettledError(f"no run in {root} has {kind} yet")


def _runs(root: Path) -> list[Path]:
    """The logs of offline runs, the newest first: of a folder of runs, or of one run's."""
    try:
        own = list(root.glob("*.wandb"))
        logs = own or [*root.glob("offline-run-*/*.wandb"), *root.glob("run-*/*.wandb")]
        return sorted(logs, key=lambda one: one.stat().st_mtime_ns, reverse=True)
    except OSError as error:
        raise PlaceError(f"{root} can't be read: {error.strerror}") from None


def _artifact(log: Path, wanted: str) -> tuple[Any, Any, dict[str, float]] | None:
    """The last artifact of that name, or of a model, in a run's log, with the run and its last figures."""
    artifact, run, figures = None, None, dict[str, float]()
    for record in _records(log):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
        elif kind == "summary":
            figures |= _figures(record.summary.update)
        elif kind == "artifact":
            is_it = record.artifact.name == wanted if wanted else record.artifact.type == _KIND
            artifact = record.artifact if is_it else artifact
    return None if artifact is None else (artifact, run, figures)


def _place(log: Path, artifact: Any, run: Any, figures: dict[str, float]) -> Place:
    aliases = ", ".join(artifact.aliases)
    facts = {"wandb_artifact": artifact.name, "wandb_digest": artifact.digest, "wandb_run_id": artifact.run_id}
    if run is not None:
        facts |= {"wandb_project": run.project, "wandb_run": run.display_name, "git_commit": run.git.commit}
    return Place(
        tree=ManifestTree(artifact.manifest),
        origin=f"{log.parent}#{artifact.name}",
        revision=artifact.digest,
        identity=artifact.digest,
        facts={name: value for name, value in {**facts, "wandb_aliases": aliases}.items() if value},
        metrics=figures,
    )


class ManifestTree:
    """The files that an artifact's manifest names, where the run put them; verified by the digests that it gives."""

    def __init__(self, manifest: Any) -> None:
        self._entries = {one.path: one for one in _entries(manifest)}

    def list(self) -> Listing:
        found: dict[str, Entry] = {}
        for place, one in self._entries.items():
            if not one.local_path:
                raise PlaceError(f"{place} isn't kept on this machine: it is at {one.ref or 'a server'}")
            (entry,) = LocalTree(Path(one.local_path)).list().values()
            if entry.size_bytes != one.size:
                raise UnsettledError(f"{place} has {entry.size_bytes} bytes, its manifest says {one.size}")
            found[place] = Entry(one.size, one.digest)
        return found

    def copy(self, place: str, target: Path) -> None:
        one = self._entries[place]
        LocalTree(Path(one.local_path)).copy(Path(one.local_path).name, target)
        with target.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
        if digest != one.digest:
            raise PlaceError(f"{place} has the digest {digest}, its manifest says {one.digest}")


def _entries(manifest: Any) -> list[Any]:
    """Large manifests are kept in a file of their own."""
    if not manifest.manifest_file_path:
        return list(manifest.contents)
    import gzip

    from wandb.proto.wandb_internal_pb2 import ArtifactManifestEntry

    path = Path(manifest.manifest_file_path)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        lines = [json.loads(line) for line in file]
    return [ArtifactManifestEntry(**{name: one[name] for name in _OF_ENTRY if name in one}) for one in lines]


def _figures(updates: Any) -> dict[str, float]:
    """The numbers in a run's summary, of those at its top."""
    found: dict[str, float] = {}
    for one in updates:
        key = one.key or ".".join(one.nested_key)
        value = json.loads(one.value_json or "null")
        if isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith("_"):
            found[key] = float(value)
    return found


def _records(log: Path) -> Iterator[Any]:
    """The records of a run's log, whose form is that of LevelDB's: blocks with pieces, each with its CRC-32.

    The end that is still being written is left out.

    Raises:
        PlaceError: it is no such log.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    raw = log.read_bytes()
    if raw[: len(_MAGIC)] != _MAGIC:
        raise PlaceError(f"{log.name} is no run's log")
    at, pieces = _MAGIC_BYTES, list[bytes]()
    while at + _HEADER.size <= len(raw):
        if (left := _BLOCK_BYTES - at % _BLOCK_BYTES) < _HEADER.size:
            at += left
            continue
        checksum, size, kind = _HEADER.unpack_from(raw, at)
        piece = raw[at + _HEADER.size : at + _HEADER.size + size]
        if kind == 0 or len(piece) < size or binascii.crc32(piece, binascii.crc32(bytes([kind]))) != checksum:
            return
        at += _HEADER.size + size
        pieces = [piece] if kind in (_FULL, _FIRST) else [*pieces, piece]
        if kind in (_FULL, _LAST):
            yield Record.FromString(b"".join(pieces))
