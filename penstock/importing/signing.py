"""Signs models that are imported, and leaves what they were imported from as it is."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from penstock import manifests, model_files, signatures
from penstock.importing.foreign import ForeignModel
from penstock.registry.v1.resources_pb2 import Manifest


def sign(model: ForeignModel, key: Path, *, folder: Path, password: str | None = None) -> ForeignModel:
    """The model in a new ``folder``, with its manifest and a signature by a private key over both.

    Raises:
        OSError: it can't be read, or there is no room for it.
        SignatureError: the key is none, or can't be used; see :func:`penstock.signatures.sign`.
        ValueError: it has symbolic links.
    """
    for place, path in model_files.find_signed(model.path).items():
        if place != manifests.FILENAME:
            _link(path, folder / place)
    manifest = model.manifest
    if manifest != Manifest():
        described = folder / manifests.FILENAME
        described.write_text(manifests.render(manifest))
        manifest = manifests.read(described)
    signatures.sign(folder, key, password=password)
    return replace(model, path=folder, manifest=manifest)


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # on another disk
        shutil.copyfile(path, target)
