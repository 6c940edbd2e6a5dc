"""``penstock convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock import state_dicts
from penstock.cli.output import Json, print_json, reporting, screen


def register(app: typer.Typer) -> None:
    app.command("convert", epilog="Example: penstock convert ./bert ./bert-safetensors")(convert)


@reporting
def convert(
    source: Annotated[Path, typer.Argument(metavar="PATH", exists=True, help="A file of weights, or a folder.")],
    target: Annotated[Path, typer.Argument(metavar="NEW", help="What it becomes; must not exist.")],
    json: Json = False,
) -> None:
    """Convert weights that torch keeps as pickles (.bin, .pt, .pth) to safetensors. No code in them is run."""
    made = state_dicts.convert(source, target)
    if json:
        print_json({"files": [str(path) for path in made]})
    else:
        screen.print(f"Converted {len(made)} {'file' if len(made) == 1 else 'files'}: {target}")
