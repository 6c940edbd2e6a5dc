"""``penstock infer``."""

from __future__ import annotations

import json as json_module
import secrets
import time
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
import typer
from numpy.typing import NDArray

from penstock import tensors
from penstock.cli import options
from penstock.cli.output import Json, duration, print_json, reporting, screen, table
from penstock.client import Client

_SHOWN_ROWS, _SHOWN_VALUES = 8, 10


def register(app: typer.Typer) -> None:
    app.command("infer", epilog="Examples: penstock infer digits --random · penstock infer digits --input image.npy")(
        infer
    )


@reporting
def infer(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    input: Annotated[  # noqa: A002 - the option's name
        Path | None,
        typer.Option(
            "--input",
            "-i",
            exists=True,
            dir_okay=False,
            help=".npy (one input), .npz (arrays by name), or .json (arrays by name, or a body as REST takes).",
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Send random values.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="Rows of random values.")] = 1,
    version: Annotated[str, typer.Option(help="Version number or alias. Default: the deployment's default.")] = "",
    gateway: options.Gateway = None,
    json: Json = False,
) -> None:
    """Ask a deployed model, and show its answer."""
    if random == (input is not None):
        raise typer.BadParameter("give either --input FILE or --random")
    with Client(gateway=gateway) as client:
        specs, _ = client.signature(name, version)
        if input is not None:
            arrays = {spec.name: tensors.fitted(array, spec) for spec, array in _read(input, specs)}
        else:
            generator = np.random.default_rng(secrets.randbits(64))
            arrays = {spec.name: tensors.random(spec, rows=rows, generator=generator) for spec in specs}
        start = time.perf_counter()
        outputs = client.infer(name, arrays, version=version)
        took = time.perf_counter() - start
    if json:
        print_json({"model": name, "outputs": {key: _plain(array) for key, array in outputs.items()}})
        return
    for key, array in outputs.items():
        _show(key, array)
    screen.print(f"[dim]answered in {duration(took)}[/]")


def _read(path: Path, specs: list[tensors.Tensor]) -> list[tuple[tensors.Tensor, NDArray[Any]]]:
    """The file's arrays, each with the input that it is for.

    Raises:
        ValueError: the file can't be read, or its arrays are not the model's inputs.
    """
    try:
        arrays = _arrays(path, specs)
    except (ValueError, EOFError, OSError, BadZipFile, RecursionError) as error:
        raise ValueError(f"can't read {path.name}: {error}") from None
    if arrays.keys() != {spec.name for spec in specs}:
        expected = ", ".join(spec.name for spec in specs)
        raise ValueError(f"{path.name} holds {', '.join(arrays) or 'nothing'}, expected the inputs {expected}")
    return [(spec, arrays[spec.name]) for spec in specs]


def _arrays(path: Path, specs: list[tensors.Tensor]) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive.items())
    if path.suffix == ".npy":
        if len(specs) != 1:
            raise ValueError(f"the model takes {len(specs)} inputs: use .npz or .json")
        return {specs[0].name: np.load(path, allow_pickle=False)}
    if path.suffix == ".json":
        return _from_json(json_module.loads(path.read_text("utf-8")), specs)
    raise ValueError(f"its name ends in {path.suffix!r}, expected .npy, .npz or .json")


def _from_json(body: Any, specs: list[tensors.Tensor]) -> dict[str, NDArray[Any]]:
    if isinstance(body, list) and len(specs) == 1:
        return {specs[0].name: np.asarray(body)}
    if not isinstance(body, dict):
        raise ValueError("expected an object of arrays by input name")  # noqa: TRY004 - the file is wrong, not the call
    if isinstance(body.get("inputs"), list):
        try:
            return {one["name"]: np.asarray(one["data"]).reshape(one["shape"]) for one in body["inputs"]}
        except (TypeError, KeyError):
            raise ValueError("expected each of its inputs to have name, shape and data") from None
    return {key: np.asarray(value) for key, value in body.items()}


def _plain(array: NDArray[Any]) -> dict[str, Any]:
    return {"shape": list(array.shape), "data": _text(array).tolist()}


def _text(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "O":
        return array
    return np.array([item.decode("utf-8", "replace") for item in array.flat], dtype=object).reshape(array.shape)


def _show(name: str, array: NDArray[Any]) -> None:
    screen.print(f"[bold]{name}[/] {array.dtype} {'×'.join(map(str, array.shape))}")
    flat = _text(array).reshape(array.shape[0] if array.ndim > 1 else 1, -1)
    is_classifier = array.ndim == 2 and array.dtype.kind == "f" and 1 < array.shape[1] <= 10_000
    rows = table(">ROW", "VALUES", *([">HIGHEST AT"] if is_classifier else []))
    for number, row in enumerate(flat[:_SHOWN_ROWS]):
        values = "  ".join(f"{value:.3g}" if array.dtype.kind == "f" else str(value) for value in row[:_SHOWN_VALUES])
        more = f"  … {len(row) - _SHOWN_VALUES} more" if len(row) > _SHOWN_VALUES else ""
        rows.add_row(str(number), values + more, *([str(int(row.argmax()))] if is_classifier else []))
    screen.print(rows)
    if len(flat) > _SHOWN_ROWS:
        screen.print(f"… {len(flat) - _SHOWN_ROWS} more rows (--json shows all)")
