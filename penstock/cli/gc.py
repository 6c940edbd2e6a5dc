"""``penstock gc``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, size
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.registry_service_pb2 import Garbage

_KINDS = {Garbage.KIND_CONTENT: "content no version has", Garbage.KIND_UPLOAD: "unfinished upload"}


def register(app: typer.Typer) -> None:
    app.command("gc", epilog="Example: penstock gc --dry-run")(collect)


@reporting
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How long to keep what no version has. Less than an upload takes may lose it. Default: a day.",
            show_default=False,
        ),
    ] = None,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Remove content that no version has, and uploads that nobody went on with. The registry does so by itself, too."""
    with Client(registry=registry) as client:
        garbage = client.collect_garbage(is_dry_run=dry_run, grace_s=grace)
    if json:
        print_json(garbage)
        return
    rows = Rows("WHAT", "SHA-256", ">SIZE", "~")
    for one in garbage:
        rows.add_row(_KINDS.get(one.kind, "?"), f"{one.sha256[:16]}…", size(one.size_bytes), escape(one.failure))
    if garbage:
        screen.print(rows)
    freed = size(sum(one.size_bytes for one in garbage if not one.failure))
    screen.print(f"{freed} would be removed" if dry_run else f"{freed} removed")
