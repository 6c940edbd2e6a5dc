"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

Value = TypeVar("Value")

_PANEL = "Addresses"


def _address(part: str, variable: str, default: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{part}",
        metavar="HOST:PORT",
        rich_help_panel=_PANEL,
        help=f"Where the {part} is. Default: {variable}, else {default}.",
    )
    return option


Registry = Annotated[str | None, _address("registry", "PENSTOCK_REGISTRY_ADDRESS", "127.0.0.1:8021")]
Gateway = Annotated[str | None, _address("gateway", "PENSTOCK_GATEWAY_ADDRESS", "127.0.0.1:8001")]
Inference = Annotated[str | None, _address("inference", "PENSTOCK_INFERENCE_ADDRESS", "127.0.0.1:8011")]
Monitor = Annotated[str | None, _address("monitor", "PENSTOCK_MONITOR_ADDRESS", "127.0.0.1:8031")]


def pairs(items: list[str], *, option: str, read: Callable[[str], Value]) -> dict[str, Value]:
    """``["a=1"]`` as ``{"a": read("1")}``.

    Raises:
        typer.BadParameter: an item has another form.
    """
    found: dict[str, Value] = {}
    for item in items:
        key, separator, text = item.partition("=")
        try:
            if not (key and separator):
                raise ValueError
            found[key] = read(text)
        except ValueError:
            kind = "number" if read is float else "value"
            raise typer.BadParameter(f"got {item!r}, expected key={kind}", param_hint=option) from None
    return found
