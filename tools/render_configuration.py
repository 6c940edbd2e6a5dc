"""Render docs/configuration.md from the settings classes. ``--check`` fails when the page is stale."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from services.common.discovery.settings import ConsulSettings
from services.common.settings import PREFIX, SECTIONS, SuiteSettings, fields_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"

_HEAD = """\
# Configuration

Every setting is an environment variable, read once when a process starts. A variable that begins with `PENSTOCK_` and
is not listed here is refused, so that a misspelt one can't pass silently; so is a value that doesn't fit its type.
Services that `penstock up` starts get its environment.

This page is rendered from the settings classes by `python -m tools.render_configuration`.

## Clients and set-up

The command and the Python client call the parts of a suite on this machine, at the ports below, unless one of
`PENSTOCK_REGISTRY_ADDRESS`, `PENSTOCK_GATEWAY_ADDRESS`, `PENSTOCK_GATEWAY_HTTP_ADDRESS`,
`PENSTOCK_GATEWAY_METRICS_ADDRESS`, `PENSTOCK_INFERENCE_ADDRESS` or `PENSTOCK_MONITOR_ADDRESS` says another `host:port`,
or several with commas between, of which one that answers is called. Where `CONSUL_HTTP_ADDR` is set, registry, gateway
and monitor are those that Consul knows, unless their variables name them.
They speak TLS with the gateway if `PENSTOCK_GATEWAY_CA` names a PEM file with the authorities that its certificate may
be of, or that certificate itself, or says `public`; unset, they trust the certificate that the gateway's own settings
below name, if they do. `PENSTOCK_GATEWAY_CLIENT_CERTIFICATE` and `PENSTOCK_GATEWAY_CLIENT_KEY` are PEM files to show to
a gateway that wants to see them, and `PENSTOCK_GATEWAY_SERVER_NAME` is the name in the gateway's certificate where that
isn't in its address.
`PENSTOCK_ACTOR` is whom the registry's audit log is to name for what they change, unset `user@host`;
`PENSTOCK_KEY_PASSWORD` is that of an encrypted key to sign models with.
`PENSTOCK_TORCH_INDEX` names one more package index in which `make setup` looks for torch.
"""

_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", SecretStr: "secret"}
_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} long"}


def sections() -> Iterator[tuple[str, type[BaseSettings]]]:
    """Title and settings class: the suite's, Consul's, each service's as ``services/<name>/settings.py`` has it."""
    yield "All services", SuiteSettings
    yield "Consul", ConsulSettings
    for section in SECTIONS:
        name = section.lower()
        if (ROOT / "services" / name / "settings.py").is_file():
            members = vars(importlib.import_module(f"services.{name}.settings")).values()
            prefix = f"{PREFIX}{section}__"
            yield name.capitalize(), next(one for one in members if _reads(one, prefix))


def _reads(member: object, prefix: str) -> bool:
    return (
        isinstance(member, type)
        and issubclass(member, BaseSettings)
        and member.model_config.get("env_prefix") == prefix
    )


def render() -> str:
    """The page's text."""
    return "\n".join([_HEAD, *(_section(title, settings) for title, settings in sections())])


def _section(title: str, settings: type[BaseSettings]) -> str:
    rows = [
        f"| `{variable}` | {_type(field)} | {_default(field)} | {_meaning(settings, variable, field)} |"
        for variable, field in fields_of(settings).items()
    ]
    return "\n".join([f"## {title}", "", "| variable | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _type(field: FieldInfo) -> str:
    return _bounded(_kind(field.annotation), field.metadata)


def _bounded(kind: str, limits: Iterable[Any]) -> str:
    bounds = [
        text.format(getattr(limit, name))
        for limit in limits
        for name, text in _BOUNDS.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([kind, *bounds])


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        metadata = [limit for one in arguments[1:] for limit in getattr(one, "metadata", [one])]
        return _bounded(_kind(arguments[0]), metadata)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in arguments if one is not type(None))
    if origin in (list, tuple, frozenset, set):
        return f"list of {_kind(arguments[0])} as JSON"
    return _TYPES.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "unset"
    if isinstance(value, Path) and value.is_relative_to(Path.home()):
        value = Path("~", value.relative_to(Path.home()))
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, tuple):
        value = json.dumps(value)
    return f"`{value}`" if str(value) else "empty"


def _meaning(settings: type[BaseSettings], variable: str, field: FieldInfo) -> str:
    if not field.description:
        sys.exit(f"{variable} in {settings.__name__} has no documentation string under it")
    return " ".join(field.description.split()).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail when the page is stale")
    if not parser.parse_args().check:
        PAGE.write_text(render())
    elif not PAGE.is_file() or PAGE.read_text() != render():
        sys.exit("docs/configuration.md is stale, run `python -m tools.render_configuration`")


if __name__ == "__main__":
    main()
