"""``penstock import``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape

from penstock import importing
from penstock.cli import options
from penstock.cli.models import signature
from penstock.cli.output import Json, print_json, reporting, screen, stderr
from penstock.cli.steps import Steps
from penstock.client import Client
from penstock.endpoints import KEY_PASSWORD
from penstock.importing import ForeignModel, ForeignModelError
from penstock.registry.v1.resources_pb2 import ModelVersion


def register(app: typer.Typer) -> None:
    app.command("import", epilog="Example: penstock import resnet-18.mar --trust")(import_)


@reporting
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            exists=True,
            help="An archive of TorchServe (.mar), a model folder of MLflow, or a model repository of Triton.",
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="NAME", help="The model's name. Default: what it is called there.")
    ] = "",
    trust: Annotated[
        bool, typer.Option("--trust", help="Vouch for models whose format can run code while loading.")
    ] = False,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="PEM", exists=True, dir_okay=False, help="Sign it first, with this private key."),
    ] = None,
    deploy: Annotated[bool, typer.Option(help="Serve what was imported; of each model the newest version.")] = True,
    wait: Annotated[bool, typer.Option(help="Wait until it takes requests.")] = True,
    registry: options.Registry = None,
    gateway: options.Gateway = None,
    json: Json = False,
) -> None:
    """Take over models from another server or tool: files, tensors, labels, limits of batches and queues.

    Nothing of what they bring along is run here. What is not taken over is said.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="penstock-import-")))
        found = _renamed(importing.find(path, scratch=scratch), name)
        if sign:
            found = _signed(found, sign, scratch)
        client = stack.enter_context(Client(registry=registry, gateway=gateway))
        steps = stack.enter_context(Steps(is_quiet=json))
        versions = [_register(client, steps, one, is_trusted=trust) for one in found]
        newest = {one.name: (one, version) for one, version in zip(found, versions, strict=True)}
        for one, version in newest.values() if deploy else ():
            steps.begin(f"loading {one.name}")
            client.deploy(one.name, version.name, serving=one.serving, wait=wait, on_change=steps.loading)
    if json:
        print_json({"versions": versions})
        return
    for one, version in zip(found, versions, strict=True):
        number = version.name.rpartition("/")[2]
        screen.print(f"[bold green]{one.name}[/] version [bold]{number}[/]: {signature(version.signature)}")
    for words in dict.fromkeys(f"{one.name}: left out {words}" for one in found for words in one.left_out):
        stderr.print(f"[yellow]note:[/] {escape(words)}", soft_wrap=True)


def _renamed(found: Sequence[ForeignModel], name: str) -> Sequence[ForeignModel]:
    if name and len(names := {one.name for one in found}) > 1:
        raise ForeignModelError(f"got one name for the models {', '.join(sorted(names))}: leave --name out")
    return [replace(one, name=name) for one in found] if name else found


def _signed(found: Sequence[ForeignModel], key: Path, scratch: Path) -> Sequence[ForeignModel]:
    password = os.environ.get(KEY_PASSWORD)
    return [
        importing.sign(one, key, folder=scratch / f"signed-{number}", password=password)
        for number, one in enumerate(found)
    ]


def _register(client: Client, steps: Steps, one: ForeignModel, *, is_trusted: bool) -> ModelVersion:
    steps.begin(f"uploading {one.name}")
    files = client.upload(one.path, progress=steps.uploaded)
    steps.begin(f"validating {one.name}")
    version = client.create_version(one.name, files, is_trusted=is_trusted, manifest=one.manifest, labels=one.labels)
    return client.wait_validated(version.name, on_change=steps.validating)
