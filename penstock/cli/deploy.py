"""``penstock deploy``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from penstock import manifests, signatures
from penstock.cli import options
from penstock.cli.models import signature
from penstock.cli.output import Json, duration, print_json, reporting, screen
from penstock.cli.rollout_following import exit_with_state, follow
from penstock.cli.rollout_view import line
from penstock.cli.steps import Steps
from penstock.client import Client
from penstock.endpoints import KEY_PASSWORD
from penstock.errors import NotFoundError
from penstock.registry.v1.resources_pb2 import Deployment, ModelVersion
from penstock.rollouts import Strategy
from penstock.serving import UNCHANGED, Serving


class Optimize(StrEnum):
    """How far to look for a faster way to run a version."""

    OFF = "off"
    FAST = "fast"
    FULL = "full"


def register(app: typer.Typer) -> None:
    app.command("deploy", epilog="Example: penstock deploy model.onnx --name digits --metric accuracy=0.97")(deploy)


@reporting
def deploy(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", exists=True, help="The model: a file, or a folder with several."),
    ],
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="NAME", help="The model's name; a new version where it exists.")
    ],
    trust: Annotated[
        bool, typer.Option("--trust", help="Vouch for a model whose format can run code while loading (.pt2, .pt).")
    ] = False,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="PEM", exists=True, dir_okay=False, help="Sign it first, with this private key."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="What the model's files don't say of it (TOML or JSON). Default: penstock.toml in its folder.",
        ),
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, max=64, metavar="N", help="Model processes.")] = None,
    max_batch_size: Annotated[int | None, typer.Option(min=1, metavar="N", help="Most rows in one batch.")] = None,
    max_queue_delay_us: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Longest that a request may be held back for a fuller batch, µs."),
    ] = None,
    optimize: Annotated[
        Optimize | None,
        typer.Option(help="How far to look for a faster way to run it, beside serving: half a minute, or minutes."),
    ] = None,
    pin: Annotated[
        bool | None,
        typer.Option("--pin/--no-pin", help="Keep it loaded, whoever else wants its room.", show_default=False),
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Point this alias at the new version. Repeatable.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label. Repeatable.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="KEY=NUMBER", help="A figure that you know of it. Repeatable.")
    ] = None,
    keep_previous: Annotated[
        bool, typer.Option("--keep-previous", help="Let the versions that serve now serve on beside the new one.")
    ] = False,
    rollout: Annotated[
        Strategy | None,
        typer.Option(
            help="Replace the present version by a rollout, and follow it. Exit status as of `penstock rollout start`."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the new version takes requests.")] = True,
    registry: options.Registry = None,
    gateway: options.Gateway = None,
    json: Json = False,
) -> None:
    """Upload a model as a new version, have it validated, and serve it.

    An upload that was interrupted goes on where it ended. A model that can't be served is rejected with the reason, and
    what served before serves on. Without --keep-previous the new version replaces the ones before, once it is ready.
    With --rollout it is tried on their requests first; a model that isn't deployed yet has none, and is just served.
    """
    labels = options.pairs(label or [], option="--label", read=str)
    metrics = options.pairs(metric or [], option="--metric", read=float)
    serving = Serving(
        replicas=replicas,
        max_batch_size=max_batch_size,
        max_queue_delay_microseconds=max_queue_delay_us,
        optimize=optimize,
        pinned=pin,
    )
    if rollout:
        _check_rollout(rollout, alias or [], is_changed=keep_previous or serving != UNCHANGED)
    manifest = manifest or manifests.find(path)
    described = manifests.read(manifest) if manifest else None
    if sign:
        signatures.sign(path, sign, password=os.environ.get(KEY_PASSWORD))
    with ExitStack() as stack:
        client = stack.enter_context(Client(registry=registry, gateway=gateway))
        steps = stack.enter_context(Steps(is_quiet=json))
        steps.begin("uploading")
        files = client.upload(path, progress=steps.uploaded)
        steps.begin("validating")
        version = client.create_version(
            name, files, is_trusted=trust, manifest=described, metrics=metrics, labels=labels
        )
        version = client.wait_validated(version.name, on_change=steps.validating)
        if rollout and not _is_deployed(client, name):
            rollout = None
        if not rollout:
            for one in alias or []:
                client.set_alias(name, one, version.name)
            steps.begin("loading")
            deployment = client.deploy(
                name, version.name, serving=serving, keep_previous=keep_previous, wait=wait, on_change=steps.loading
            )
    if rollout:
        _roll_out(version, rollout, "".join(alias or []), wait=wait, registry=registry, is_json=json)
    elif json:
        print_json({"version": version, "deployment": deployment})
    else:
        _show(version, _standing(version, deployment, is_serving=wait))


def _check_rollout(strategy: Strategy, aliases: list[str], *, is_changed: bool) -> None:
    """Refuse what a rollout leaves no room for.

    Raises:
        typer.BadParameter: it is asked for.
    """
    if strategy is Strategy.AB:
        raise typer.BadParameter("an A/B test needs a key: penstock rollout start --sticky", param_hint="--rollout")
    if is_changed:
        raise typer.BadParameter(
            "expected no options beside it that change how the model is served: they would change the present version",
            param_hint="--rollout",
        )
    if len(aliases) > 1:
        raise typer.BadParameter(f"got {len(aliases)}, expected one at most beside --rollout", param_hint="--alias")


def _is_deployed(client: Client, model: str) -> bool:
    try:
        client.deployment(model)
    except NotFoundError:
        return False
    return True


def _roll_out(
    version: ModelVersion, strategy: Strategy, alias: str, *, wait: bool, registry: str | None, is_json: bool
) -> None:
    with Client(registry=registry) as client:
        found = client.rollouts.start(version.name.split("/")[1], version.name, strategy=strategy, alias=alias)
        if wait:
            found = follow(client, found, is_quiet=is_json)
    if is_json:
        print_json({"version": version, "rollout": found})
    elif not wait:
        screen.print(line(found))
    if wait:
        exit_with_state(found)


def _standing(version: ModelVersion, deployment: Deployment, *, is_serving: bool) -> str:
    if any(one.is_asleep for one in deployment.placements if one.version == version.name):
        return "is asleep until its first request"
    return "serves" if is_serving else "is being loaded"


def _show(version: ModelVersion, standing: str) -> None:
    _, model, _, number = version.name.split("/")
    report = version.validation_report
    took = duration(report.infer_duration.ToTimedelta().total_seconds())
    screen.print(f"[bold green]{model}[/] version [bold]{number}[/] {standing}: {signature(version.signature)}")
    screen.print(
        f"One inference takes about {took} on {report.device}. Try it: penstock infer {model} {_trial(version)}"
    )


def _trial(version: ModelVersion) -> str:
    """Options of ``penstock infer`` that send what the version can read."""
    if all(one.datatype != "BYTES" for one in version.signature.inputs):
        return "--random"
    has_images = any(one.operation == "decode_image" for one in version.manifest.preprocessing)
    return "--random-image" if has_images else "--text 'a sentence'"
