"""``penstock infer``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import options
from penstock.cli.output import Json, duration, print_json, reporting, screen
from penstock.client import Client

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
            help=".npy (one input), .npz (arrays by name), or .json (arrays by name, or a body as REST takes). "
            "Of a model that takes photographs or texts, any other file: one of them.",
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Send random values.")] = False,
    random_image: Annotated[
        bool, typer.Option("--random-image", help="Send a picture of random colours where it takes bytes.")
    ] = False,
    text: Annotated[str | None, typer.Option(help="Send this text where it takes bytes.", show_default=False)] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of what isn't from a file.")] = 1,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show the responses of a decoupled model as they come.")
    ] = False,
    version: Annotated[str, typer.Option(help="Version number or alias. Default: the deployment's default.")] = "",
    request_id: Annotated[
        str,
        typer.Option("--id", metavar="ID", help="The request's id, for its label: see `penstock feedback`."),
    ] = "",
    gateway: options.Gateway = None,
    json: Json = False,
) -> None:
    """Ask a deployed model, and show its answer."""
    if [input is not None, random, random_image, text is not None].count(True) != 1:
        raise typer.BadParameter("give one of --input FILE, --random, --random-image and --text TEXT")
    from penstock.cli import arrays  # numpy is nothing for the other commands

    with Client(gateway=gateway) as client:
        specs, _ = client.signature(name, version)
        if input is not None:
            inputs = arrays.read(input, specs)
        else:
            content = arrays.random_image() if random_image else text.encode() if text is not None else None
            inputs = arrays.random(specs, rows=rows, content=content)
        if stream:
            _stream(client, name, inputs, version=version, request_id=request_id, is_json=json)
            return
        start = time.perf_counter()
        outputs = client.infer(name, inputs, version=version, request_id=request_id)
        took = time.perf_counter() - start
    if json:
        print_json({"model": name, "outputs": {key: arrays.plain(array) for key, array in outputs.items()}})
        return
    for key, array in outputs.items():
        arrays.show(key, array)
    screen.print(f"[dim]answered in {duration(took)}[/]")


def _stream(
    client: Client, name: str, inputs: Mapping[str, NDArray[Any]], *, version: str, request_id: str, is_json: bool
) -> None:
    """Print each response when it comes; as JSON, one on each line."""
    from penstock.cli import arrays

    start, count = time.perf_counter(), 0
    for outputs in client.infer_stream(name, inputs, version=version, request_id=request_id):
        count += 1
        if is_json:
            plain = {key: arrays.plain(array) for key, array in outputs.items()}
            print_json({"model": name, "outputs": plain}, indent=None)
            continue
        screen.print(f"[dim]response {count}, after {duration(time.perf_counter() - start)}[/]")
        for key, array in outputs.items():
            arrays.show(key, array)
    if not is_json:
        screen.print(f"[dim]{count} responses in {duration(time.perf_counter() - start)}[/]")
