"""``penstock sign`` and ``penstock verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock import signatures
from penstock.cli import options
from penstock.cli.model import find
from penstock.cli.output import Json, print_json, reporting, screen
from penstock.client import Client
from penstock.endpoints import KEY_PASSWORD

Key = Annotated[
    Path,
    typer.Option("--key", metavar="PEM", exists=True, dir_okay=False, help="Private key of P-256, P-384 or P-521."),
]
PublicKey = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="PEM", exists=True, dir_okay=False, help="Public key. Default: those that the registry has."
    ),
]
Password = Annotated[str | None, typer.Option(envvar=KEY_PASSWORD, metavar="TEXT", help="Of an encrypted key.")]


def register(app: typer.Typer) -> None:
    app.command("sign", epilog="Example: penstock sign model.onnx --key anna.pem")(sign)
    app.command("verify", epilog="Example: penstock verify digits:3 --key anna.pub")(verify)


@reporting
def sign(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, help="The model: a file, or a folder.")],
    key: Key,
    password: Password = None,
    json: Json = False,
) -> None:
    """Sign a model: every file that would be uploaded, with its manifest.

    The signature is model.sig in the folder, or beside the file, and is uploaded with the model. It is of OpenSSF Model
    Signing's form: other tools verify it too.
    """
    bundle = signatures.sign(path, key, password=password)
    signed = sorted(signatures.Bundle.parse(bundle.read_bytes()).digests)
    if json:
        print_json({"bundle": str(bundle), "files": signed})
    else:
        screen.print(f"{bundle} signs {len(signed)} file{'s' if len(signed) > 1 else ''}")


@reporting
def verify(
    what: Annotated[
        str, typer.Argument(metavar="PATH|MODEL[:VERSION]", help="A model on this machine, or one in the registry.")
    ],
    key: PublicKey = None,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Verify a model's signature: that it is of this key, and of exactly these files.

    A version is a number or an alias, the newest by default.
    """
    given = {str(key): key.read_text()} if key else None
    if (path := Path(what)).exists():
        if given is None:
            with Client(registry=registry) as client:
                good = [one for one in client.trust.signing_keys() if not one.HasField("revoke_time")]
                given = {one.name: one.public_key for one in good}
        signer = _verify_path(path, given)
    else:
        model, _, version = what.partition(":")
        with Client(registry=registry) as client:
            aliases = {one.name.rpartition("/")[2]: one.version for one in client.aliases(model)}
            found = find(client, model, aliases.get(version, version))
            what, signer = found.name, client.trust.verify(found, given)
    if json:
        print_json({"verified": what, "key": signer})
    else:
        screen.print(f"[green]✓[/] {what} is signed by {signer}, and is what was signed")


def _verify_path(path: Path, keys: dict[str, str]) -> str:
    place = signatures.place_of(path)
    fingerprint = signatures.Bundle.parse(place.read_bytes()).fingerprint if place.is_file() else ""
    fitting = [name for name, one in keys.items() if signatures.fingerprint_of(one) == fingerprint]
    name = next(iter(fitting or keys), None)
    if name is None:
        raise signatures.SignatureError("the registry has no key to verify it with, expected --key")
    signatures.verify(path, keys[name])
    return name
