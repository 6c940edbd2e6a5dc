"""The route for MLflow's webhooks: ``POST /v1/webhooks/mlflow``. All that one does is have sources looked at now."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse

from services.common import metrics_page
from services.common.errors import InvalidArgumentError
from services.registry.domain import webhooks
from services.registry.domain.webhooks import ForgedError

_log = logging.getLogger(__name__)

PATH = "/v1/webhooks/mlflow"
_MOST_BYTES = 65_536
_HEADERS = {
    name: f"HTTP_{name.upper().replace('-', '_')}" for name in (webhooks.SIGNATURE, webhooks.INSTANT, webhooks.DELIVERY)
}
"""By name, how WSGI calls them."""


def serve(listener: socket.socket, *, secret: str, moved: Callable[[str], None]) -> Callable[[], None]:
    """Take deliveries on a bound socket, in threads; return what stops that.

    ``moved`` is called, in such a thread, with the registered model that a delivery is about.
    """

    def page(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, text = _answer(environ, secret=secret, moved=moved)
        body = text.encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return metrics_page.serve(page, listener)


def _answer(environ: dict[str, Any], *, secret: str, moved: Callable[[str], None]) -> tuple[HTTPStatus, str]:
    if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) != ("POST", PATH):
        return HTTPStatus.NOT_FOUND, f"expected POST {PATH}\n"
    size = environ.get("CONTENT_LENGTH") or ""
    if not size.isdecimal() or int(size) > _MOST_BYTES:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a Content-Length of at most {_MOST_BYTES} bytes\n"
    body = environ["wsgi.input"].read(int(size))
    headers = {name: str(environ.get(key, "")) for name, key in _HEADERS.items()}
    try:
        model = webhooks.read(headers, body, secret=secret, now_s=time.time())
    except ForgedError as error:
        _log.warning("a webhook was refused: %s", error)
        return HTTPStatus.UNAUTHORIZED, f"{error}\n"
    except InvalidArgumentError as error:
        return HTTPStatus.BAD_REQUEST, f"{error.message}\n"
    moved(model)
    return HTTPStatus.ACCEPTED, ""
