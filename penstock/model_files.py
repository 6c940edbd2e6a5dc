"""What a model on this machine consists of: one file, or those in a folder that are its own."""

from __future__ import annotations

from pathlib import Path

from penstock import manifests, signatures


def find(model: Path) -> dict[str, Path]:
    """The files to upload, by their places in the model; the signature and what else it covers, if there is one.

    Of a folder hidden files and Python's caches are left out, and the manifest where nothing is signed.

    Raises:
        ValueError: there is something else than files, or a symbolic link.
    """
    bundle = signatures.place_of(model)
    if not bundle.exists():
        places = _below(model) if model.is_dir() else {model.name: model}
        places.pop(manifests.FILENAME, None)
        return places
    return {**find_signed(model), signatures.FILENAME: bundle}


def find_signed(model: Path) -> dict[str, Path]:
    """The files that a signature covers, by their places, with the manifest and without the signature.

    Raises:
        ValueError: as :func:`find`.
    """
    if not model.is_dir():
        return {model.name: model}
    places = _below(model)
    places.pop(signatures.FILENAME, None)
    return places


def _below(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if any(part.startswith(".") or part == "__pycache__" for part in place.parts):
            continue
        if path.is_symlink():  # it might lead to what nobody means to publish
            raise ValueError(f"{path} is a symbolic link, expected files")
        if not path.is_dir():
            found[place.as_posix()] = path
    return found
