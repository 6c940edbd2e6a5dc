"""Where Consul says that the parts of a suite are. It is asked once, without py-consul, which is the services'."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Collection, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from penstock.endpoints import CLIENT_VARIABLES, joined
from penstock.errors import ConnectionFailedError

_WITHIN_S = 5.0
_PARTS = {"registry": "PENSTOCK_REGISTRY_ADDRESS", **{one: CLIENT_VARIABLES[one] for one in ("gateway", "monitor")}}


def find_missing(known: Collection[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The healthy instances, as lists with commas between, of those parts of which nothing else says where they are.

    Raises:
        ConnectionFailedError: Consul can't be asked.
    """
    given = os.environ if environ is None else environ
    missing = [part for part, variable in _PARTS.items() if part not in known and not given.get(variable)]
    found = {part: _find(part, given) for part in missing}
    return {part: addresses for part, addresses in found.items() if addresses}


def _find(part: str, environ: Mapping[str, str]) -> str:
    address = environ["CONSUL_HTTP_ADDR"]
    try:
        found = _ask(address, f"/v1/health/service/penstock-{part}?passing=1", environ)
        services = [(one["Service"]["Address"] or one["Node"]["Address"], one["Service"]["Port"]) for one in found]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise ConnectionFailedError("Consul", address, str(error) or repr(error)) from None
    return ",".join(sorted(joined(host, port) for host, port in services))


def _ask(address: str, path: str, environ: Mapping[str, str]) -> Any:
    has_tls = environ.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true")
    where = urlsplit(address if "://" in address else f"{'https' if has_tls else 'http'}://{address}")
    if where.scheme not in ("http", "https") or not where.hostname:
        raise ValueError("expected CONSUL_HTTP_ADDR to be host:port, http://host:port or https://host:port")
    connection = HTTPConnection(where.hostname, where.port or 8500, timeout=_WITHIN_S)
    if where.scheme == "https":
        connection = HTTPSConnection(where.hostname, where.port, timeout=_WITHIN_S, context=_tls(environ))
    token = environ.get("CONSUL_HTTP_TOKEN") or _content(environ.get("CONSUL_HTTP_TOKEN_FILE", ""))
    try:
        connection.request("GET", path, headers={"X-Consul-Token": token} if token else {})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise HTTPException(f"{answer.status} {said[:200].decode(errors='replace')}")
        return json.loads(said)
    finally:
        connection.close()


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=environ.get("CONSUL_CACERT") or None)
    if certificate := environ.get("CONSUL_CLIENT_CERT"):
        context.load_cert_chain(certificate, environ.get("CONSUL_CLIENT_KEY") or None)
    if environ.get("CONSUL_HTTP_SSL_VERIFY", "").lower() in ("0", "false"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _content(path: str) -> str:
    return Path(path).read_text().strip() if path else ""
