"""Retraining by somebody else, who is told by a POST and reports by ``ReportRetraining``, or by a new version."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from services.common.errors import FailedPreconditionError, UnavailableError
from services.monitor.adapters.runner import Progress
from services.monitor.adapters.web_api import WebApi
from services.monitor.domain.blocks import NS
from services.monitor.domain.recipes import Recipe, Webhook
from services.monitor.domain.retraining import Retraining

SIGNATURE, NAME = "X-Penstock-Signature", "X-Penstock-Retraining"


class Webhooks:
    """Posts what is asked for, with ``report_token`` for whoever reports.

    With a secret the header ``X-Penstock-Signature`` is ``t=<Unix seconds>,v1=<HMAC-SHA-256 of "<t>.<body>">``.
    The same retraining may be posted twice, if no answer came: it is known by ``X-Penstock-Retraining``.
    """

    def __init__(self, *, clock: Callable[[], int]) -> None:
        """``clock`` gives Unix nanoseconds."""
        self._clock = clock

    async def start(self, retraining: Retraining, recipe: Recipe) -> str:
        hook = recipe.runner
        if not isinstance(hook, Webhook):
            raise FailedPreconditionError(f"got {hook}, expected a webhook")
        secret = await asyncio.to_thread(_secret, hook.secret_file)
        authorization = await asyncio.to_thread(_secret, hook.authorization_file)
        body = json.dumps({**json.loads(retraining.request), "report_token": retraining.token}).encode()
        headers = {NAME: retraining.name}
        if secret:
            headers[SIGNATURE] = signature(secret, body, second=self._clock() // NS)
        parts = urlsplit(hook.url)
        api = WebApi(f"{parts.scheme}://{parts.netloc}", authorization=authorization)
        await api.send("POST", urlunsplit(("", "", parts.path or "/", parts.query, "")), body, headers=headers)
        return hook.url

    async def look(self, _retraining: Retraining) -> Progress:
        """It reports by itself."""
        return Progress()

    async def stop(self, _retraining: Retraining) -> None:
        """It isn't known how; what it reports later is refused."""


def signature(secret: str, body: bytes, *, second: int) -> str:
    """The header that vouches for a body at a time, Unix seconds."""
    signed = hmac.new(secret.encode(), f"{second}.".encode() + body, hashlib.sha256)
    return f"t={second},v1={signed.hexdigest()}"


def _secret(path: str) -> str:
    """A file's text, "" for none."""
    try:
        return Path(path).read_text().strip() if path else ""
    except (OSError, UnicodeError) as error:
        raise UnavailableError(f"the file {path} can't be read: {error}") from None
