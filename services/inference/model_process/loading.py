"""Loads a model in the process that is to serve it, and learns what its answers are to be compared with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.inference import backends
from services.inference.backends import LoadError, Model, ModelFiles, Placement
from services.inference.domain.signature import Signature
from services.inference.model_process.golden_probe import GoldenProbe
from services.inference.model_process.spec import ProcessSpec
from services.inference.warm_up import warm_up

_LONG_ROW_S = 1.0
"""No load is made longer by rows that take so long: then the probe learns while nothing waits for it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that has answered its first rows, of which one takes ``row_s`` seconds.

    ``probe`` is None where it is left alone; ``why_not`` is the reason.
    """

    model: Model
    row_s: float
    probe: GoldenProbe | None = None
    why_not: str = ""


def readable(spec: ProcessSpec) -> Iterator[Path]:
    """The model, what is made of it, and certificates for Redis."""
    files = ModelFiles(Path(spec.path))
    yield files.root
    yield from files.products
    for values in parse_qs(urlsplit(spec.redis_url).query).values():
        yield from (Path(value) for value in values if value.startswith("/"))


async def load_unless(stop: asyncio.Event, spec: ProcessSpec) -> Loaded:
    """Load the model; end the process when ``stop`` is set first, since nothing is in its hands.

    Raises:
        LoadError: it can't be loaded, or isn't what was expected.
    """
    loading, stopping = asyncio.create_task(asyncio.to_thread(load, spec)), asyncio.create_task(stop.wait())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        os._exit(0)  # loading can't be interrupted, and may take minutes
    stopping.cancel()
    return loading.result()


def load(spec: ProcessSpec) -> Loaded:
    """Load the model and run its first rows. Raises as :func:`load_unless`."""
    placement = Placement(spec.device, spec.threads)
    model = backends.load(ModelFiles(Path(spec.path)), spec.format, placement, spec.variant, manifest=spec.manifest)
    if _said_by(model.signature) != _said_by(spec.signature):
        raise LoadError(f"the file's signature is {model.signature}, expected {spec.signature}")
    found = warm_up(model, spec.signature, rows=spec.batching.max_batch_size)
    if why_not := _why_not_probed(spec):
        return Loaded(model, found.row_s, why_not=why_not)
    is_split = spec.variant.split()[1] is not None
    probe = GoldenProbe(model, spec.signature, free_size=found.free_size, is_split=is_split)
    if spec.is_probed and found.row_s <= _LONG_ROW_S:
        probe.learn()
    return Loaded(model, found.row_s, probe)


def _said_by(signature: Signature) -> tuple[Any, ...]:
    """What the file says, whatever was found out of its batches."""
    return signature.inputs, signature.outputs, signature.is_decoupled


def _why_not_probed(spec: ProcessSpec) -> str:
    """Why a model is left alone, empty where it isn't."""
    if spec.signature.is_decoupled:
        return "its answers are streams"
    if backends.is_elsewhere(spec.format):
        return "it is reached by the network"
    if spec.manifest.probe == "off":
        return "its manifest says that it isn't"
    if backends.is_code(spec.format) and not spec.manifest.probe:
        return "it is code, and its manifest doesn't say that it may be"
    return ""
