"""``penstock infer``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.output import Json, duration, print_json, reporting, screen
from penstock.client import Client


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
    rows: Annotated[int, typer.Option(min=1, help="Rows of random values.")] = 1,
    version: Annotated[str, typer.Option(help="Version number or alias. Default: the deployment's default.")] = "",
    gateway: options.Gateway = None,
    json: Json = False,
) -> None:
    """Ask a deployed model, and show its answer."""
    if random == (input is not None):
        raise typer.BadParameter("give either --input FILE or --random")
    from penstock.cli import arrays  # numpy is nothing for the other commands

    with Client(gateway=gateway) as client:
        specs, _ = client.signature(name, version)
        inputs = arrays.random(specs, rows=rows) if input is None else arrays.read(input, specs)
        start = time.perf_counter()
        outputs = client.infer(name, inputs, version=version)
        took = time.perf_counter() - start
    if json:
        print_json({"model": name, "outputs": {key: arrays.plain(array) for key, array in outputs.items()}})
        return
    for key, array in outputs.items():
        arrays.show(key, array)
    screen.print(f"[dim]answered in {duration(took)}[/]")
