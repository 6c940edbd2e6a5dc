"""What commands print: text for people, or JSON for programs, and errors in one line."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape

from penstock.errors import ConnectionFailedError, PenstockError

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, and nothing else, on standard output.")]

screen = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
stderr = Console(stderr=True, highlight=False)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def fail(message: str) -> None:
    """Say what went wrong, on standard error."""
    stderr.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def warn(message: str) -> None:
    """Say what may be wrong, on standard error."""
    stderr.print(f"[bold yellow]warning:[/] {escape(message)}", soft_wrap=True)


def reporting(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """End a command that fails with one clear message and exit status 1, and one that is interrupted quietly."""

    @functools.wraps(command)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        try:
            return command(*arguments, **options)
        except ConnectionFailedError as error:
            where = f"PENSTOCK_{error.part.upper()}_ADDRESS"
            fail(str(error) if error.why else f"{error}. Start a suite with `penstock up`, or say where it is: {where}")
        except BrokenPipeError:  # whoever read our output has enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (PenstockError, OSError, ValueError, TypeError, OverflowError) as error:
            fail(str(error))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        raise typer.Exit(1)

    return run


def plain(value: Any) -> Any:
    """A value as JSON has it; messages by their proto field names."""
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def print_json(value: Any, *, indent: int | None = 2) -> None:
    sys.stdout.write(json.dumps(plain(value), indent=indent, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """A duration in the unit that reads best."""
    if seconds <= 0:
        return "–"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def size(count: int) -> str:
    """A number of bytes, rounded."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1_000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:.1f} TB"


def time(when: Timestamp) -> str:
    """An instant, to the second."""
    return when.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")


def state(name: str) -> str:
    """A state's name, without its prefix, in its colour."""
    word = name.removeprefix("STATE_")
    colours = {"READY": "green", "OPEN": "red", "REJECTED": "red", "UNAVAILABLE": "red", "CLOSED": "dim"}
    return f"[{colours.get(word, 'yellow')}]{word.lower()}[/]"
