"""What an author says of a model: ``penstock.toml`` in its folder, or a file of that form, or of the same in JSON.

A tensor is described as far as its files leave it open; see docs/formats.md for steps and options:

.. code-block:: toml

    max_batch_size = 8

    [[inputs]]
    name = "pixels"
    shape = [-1, 3, 224, 224]

    [[outputs]]
    name = "logits"
    labels = ["cat", "dog"]

    [[postprocessing]]
    operation = "top_k"
    k = 1
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from penstock.registry.v1.resources_pb2 import Manifest

FILENAME = "penstock.toml"
_TENSORS = ("inputs", "outputs")
_STEPS = ("preprocessing", "postprocessing")


class ManifestError(ValueError):
    """What was given is no manifest; the message says why."""


def find(model: Path) -> Path | None:
    """The manifest in a model's folder, if it has one."""
    path = model / FILENAME
    return path if path.is_file() else None


def read(path: Path) -> Manifest:
    """Read a manifest's file.

    Raises:
        OSError: it can't be read.
        ManifestError: it isn't a manifest; the message says where.
    """
    try:
        text = path.read_text()
        return parse(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
    except ValueError as error:
        raise ManifestError(f"{path.name}: {error}") from None


def parse(fields: Mapping[str, Any]) -> Manifest:
    """A manifest from the fields of its file.

    Raises:
        ManifestError: they aren't those of a manifest; the message says which.
    """
    known = {*_TENSORS, *_STEPS, "max_batch_size", "unbatched", "options"}
    if strangers := fields.keys() - known:
        raise ManifestError(f"got {min(strangers)!r}, expected one of {', '.join(sorted(known))}")
    signature = {name: fields[name] for name in (*_TENSORS, "max_batch_size") if name in fields}
    message = {name: fields[name] for name in ("unbatched", "options") if name in fields}
    steps = {role: [_step(one, role) for one in _list(fields, role)] for role in _STEPS}
    try:
        return json_format.ParseDict({**message, **steps, "signature": signature}, Manifest())
    except json_format.ParseError as error:
        raise ManifestError(str(error)) from None


def render(manifest: Manifest) -> str:
    """The text of a manifest's file: what :func:`parse` reads as the same manifest."""
    said = json_format.MessageToDict(manifest, preserving_proto_field_name=True)
    fields = {**said.pop("signature", {}), **said}
    for role in _STEPS:
        fields[role] = [{"operation": one["operation"], **one.get("arguments", {})} for one in fields.get(role, ())]
    for role in _TENSORS:
        fields[role] = [{**one, "shape": [int(size) for size in one.get("shape", ())]} for one in fields.get(role, ())]
    tables = {name: fields.pop(name) for name in (*_TENSORS, *_STEPS)}
    lines = [f"{name} = {_toml(value)}" for name, value in fields.items()]
    for role, listed in tables.items():
        for one in listed:
            lines += ["", f"[[{role}]]", *(f"{_toml(name)} = {_toml(value)}" for name, value in one.items())]
    return "\n".join(lines).lstrip() + "\n"


def _toml(value: Any) -> str:
    """A value as TOML has it, tables in one line."""
    if isinstance(value, str):  # JSON's escapes are TOML's, which asks for one more
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower()


def _step(fields: Any, role: str) -> dict[str, Any]:
    if not isinstance(fields, dict) or not isinstance(fields.get("operation"), str):
        raise ManifestError(f"got {fields!r} in {role}, expected a table with an operation and its arguments")
    return {
        "operation": fields["operation"],
        "arguments": {name: value for name, value in fields.items() if name != "operation"},
    }


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    found = fields.get(name, [])
    if not isinstance(found, list):
        raise ManifestError(f"got {found!r} for {name}, expected a list")
    return found
