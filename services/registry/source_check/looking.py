"""One look: whether there is something new, whether it is whole, and a copy of it."""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from penstock import importing, manifests, model_files, signatures
from penstock.importing import ForeignModelError
from penstock.registry.v1.resources_pb2 import Manifest
from services.registry.source_check import trees
from services.registry.source_check.messages import Answer, FoundFile, Outcome, Question
from services.registry.source_check.places import Place
from services.registry.source_check.trees import PlaceError, UnfitError, UnsettledError

_log = logging.getLogger(__name__)

_FOREIGN = ("MLmodel", "config.pbtxt")
"""Files of other tools that say what the folder is."""

_NEEDS = {"bucket": "s3 or gcs", "mlflow": "mlflow", "dvc": "dvc", "wandb": "wandb"}
"""By kind, the extra that brings its library."""


def look(question: Question) -> Answer:
    """Look at a place. Nothing is raised: what goes wrong is an answer, too."""
    try:
        place = _opener(question.kind)(question.fields, Path(question.scratch))
        return _taken(place, question)
    except UnsettledError as error:
        return Answer(outcome=Outcome.UNSETTLED, text=str(error))
    except PlaceError as error:
        return Answer(outcome=Outcome.FAILED, text=str(error))
    except ImportError as error:
        extra = _NEEDS.get(question.kind, question.kind)
        why = f"needs a package more, expected penstock[{extra}] to be installed with the registry ({error})"
        return Answer(outcome=Outcome.FAILED, text=why)
    except Exception as error:  # noqa: BLE001 - what the libraries raise has no common base
        _log.exception("a look failed")
        return Answer(outcome=Outcome.FAILED, text=_words(error))


def _opener(kind: str) -> Callable[[Any, Path], Place]:
    module = importlib.import_module(f"services.registry.source_check.{kind}_place")
    opener: Callable[[Any, Path], Place] = module.open_place
    return opener


def _taken(place: Place, question: Question) -> Answer:
    listing = place.tree.list()
    fingerprint = trees.fingerprint_of(listing, question.kind, place.identity)
    if fingerprint == question.seen:
        return Answer(outcome=Outcome.UNCHANGED, fingerprint=fingerprint, revision=place.revision)
    trees.settled(place.tree, listing, settle_s=question.settle_s)
    folder = Path(question.scratch) / "content"
    folder.mkdir()
    trees.copied(place.tree, listing, folder)
    place.check_same()
    found = Answer(
        outcome=Outcome.FOUND,
        fingerprint=fingerprint,
        revision=place.revision,
        origin=place.origin,
        facts=place.facts,
        metrics=place.metrics,
    )
    try:
        files, manifest, labels = _model_in(folder, Path(question.scratch))
    except (ForeignModelError, manifests.ManifestError, UnfitError, ValueError) as error:
        why = str(error).replace(f"{folder}/", "").replace(str(folder), "the folder")
        return replace(found, outcome=Outcome.REFUSED, text=why)
    return replace(found, files=files, manifest=manifest, labels=labels)


def _model_in(folder: Path, scratch: Path) -> tuple[tuple[FoundFile, ...], dict[str, Any], dict[str, str]]:
    """Files, manifest and labels of the model that was copied, be it another tool's.

    Raises:
        ForeignModelError, UnfitError, ValueError: it is none that can be served.
    """
    root, manifest, labels = folder, Manifest(), dict[str, str]()
    if foreign := _foreign(folder, scratch):
        root, manifest, labels = foreign.path, foreign.manifest, dict(foreign.labels)
    elif (described := folder / manifests.FILENAME).is_file():
        manifest = manifests.read(described)
    places = model_files.find(root)
    if not places:
        raise UnfitError("there is no file of a model")
    files = tuple(
        FoundFile(place, _digest(path), path.stat().st_size, str(path)) for place, path in sorted(places.items())
    )
    return files, MessageToDict(manifest), labels


def _foreign(folder: Path, scratch: Path) -> importing.ForeignModel | None:
    """What another tool packed, unless it is signed as it lies there."""
    if (folder / signatures.FILENAME).exists():
        return None
    alone = list(folder.iterdir())
    for path in (folder, *alone[:1]) if len(alone) == 1 else (folder,):
        if any((path / one).is_file() for one in _FOREIGN) or (path.suffix == ".mar" and path.is_file()):
            unpacked = scratch / "unpacked"
            unpacked.mkdir(exist_ok=True)
            return importing.find(path, scratch=unpacked)[-1]
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _words(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:500]
