"""``penstock audit``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from penstock.audit import Head
from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, time
from penstock.cli.tables import Rows
from penstock.client import Client

_SINCE = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


def register(app: typer.Typer) -> None:
    app.command("audit", epilog="Example: penstock audit --verify --expect 41:9f86d081…")(audit)


@reporting
def audit(
    model: Annotated[str, typer.Option(metavar="MODEL", help="Only what was done to this model.")] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=_SINCE, help="Only what was done from this time on, UTC.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the whole log, and print its head to keep.")] = False,
    expect: Annotated[
        str, typer.Option(metavar="HEAD", help="With --verify: a head printed before, which must still be there.")
    ] = "",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show who changed what. The log only grows, and shows if it was tampered with."""
    with Client(registry=registry) as client:
        if verify or expect:
            head = client.trust.verify_audit(expected=Head.parse(expect) if expect else Head())
            if json:
                print_json({"head": str(head), "sequence": head.sequence, "sha256": head.sha256})
            else:
                screen.print(f"[green]✓[/] {head.sequence} entries, each as it was written. Head: {head}")
            return
        entries = client.trust.audit(model=model, since=since and since.replace(tzinfo=UTC))
    if json:
        print_json(list(entries))
        return
    rows = Rows(">#", "TIME", "WHO", "DID", "~TO", "~DETAILS")
    for one in entries:
        who = escape(one.actor or one.peer or "–")
        rows.add_row(str(one.sequence), time(one.log_time), who, one.action, one.resource, escape(one.details))
    screen.print(rows)
