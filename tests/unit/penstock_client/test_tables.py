"""What the command's tables look like on screens of all widths."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from penstock.cli import status
from penstock.cli.tables import Rows
from penstock.registry.v1.resources_pb2 import Deployment, InstanceStatus


def _shown(rows: Any, *, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(rows)
    file = console.file
    assert isinstance(file, io.StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def _rows() -> Rows:
    rows = Rows("PROCESS", "STATE", ">PID", "~REASON")
    rows.add_row("digits-1-0", "[green]ready[/]", "7", "")
    rows.add_row("digits-1-1", "[red]unavailable[/]", "12345", "killed by signal SIGKILL")
    return rows


def test_all_is_in_one_line_where_there_is_room() -> None:
    assert _shown(_rows(), width=80) == [
        "PROCESS     STATE          PID  REASON",
        "digits-1-0  ready            7",
        "digits-1-1  unavailable  12345  killed by signal SIGKILL",
    ]


def test_only_text_is_folded() -> None:
    assert _shown(_rows(), width=50) == [
        "PROCESS     STATE          PID  REASON",
        "digits-1-0  ready            7",
        "digits-1-1  unavailable  12345  killed by signal",
        "                                SIGKILL",
    ]


def test_cells_are_below_each_other_on_a_narrow_screen() -> None:
    assert _shown(_rows(), width=40) == [
        "PROCESS  digits-1-0",
        "STATE    ready",
        "PID      7",
        "",
        "PROCESS  digits-1-1",
        "STATE    unavailable",
        "PID      12345",
        "REASON   killed by signal SIGKILL",
    ]


def test_nothing_is_a_line_of_headings() -> None:
    assert _shown(Rows("MODEL", "~NOTE"), width=80) == ["MODEL  NOTE"]


def test_a_reason_is_shown_as_it_is() -> None:
    said = InstanceStatus(instance="a", version="models/m/versions/1", reason="[/] got shape [1, 2]")
    deployment = Deployment(name="deployments/m", versions=[said.version], instances=[said])

    assert _shown(status._instances([deployment]), width=120)[1].endswith("[/] got shape [1, 2]")
