"""``penstock audit``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from json import dumps, loads
from typing import Annotated

import typer
from rich.markup import escape

from penstock.audit import Head
from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, time
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.resources_pb2 import AuditEntry

_DIGEST = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")
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
    screen.print(table(entries))


def table(entries: Iterable[AuditEntry]) -> Rows:
    """Two lines for each entry, or more where its details are long."""
    rows = Rows(">#", "~TIME\nWHO", "~DID\nTO", "~DETAILS")
    for one in entries:
        when = f"{time(one.log_time)}\n{escape(one.actor or one.peer or '–')}"
        rows.add_row(str(one.sequence), when, f"{one.action}\n{escape(one.resource)}", escape(_details(one.details)))
    return rows


def _details(text: str) -> str:
    """What is said of a change, without what is empty; digests are shortened. JSON has all of it."""
    fields = {name: value for name, value in loads(text or "{}").items() if value not in (None, "", [], {})}
    return _DIGEST.sub(r"\1…", ", ".join(f"{name} {_plain(value)}" for name, value in fields.items()))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)
