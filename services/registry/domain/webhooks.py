"""What MLflow's webhooks say, once it is sure that MLflow says it.

They are signed as Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA-256 over id, instant and body.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

from services.common.errors import InvalidArgumentError

SIGNATURE = "x-mlflow-signature"
INSTANT = "x-mlflow-timestamp"
DELIVERY = "x-mlflow-delivery-id"
_VERSION = "v1"
_LEEWAY_S = 300.0
"""How old, or early, a delivery may be."""


class ForgedError(Exception):
    """Nobody vouches for a delivery; the message says why."""


def read(headers: Mapping[str, str], body: bytes, *, secret: str, now_s: float) -> str:
    """The registered model that a delivery is about; empty where it is about none. ``headers`` are in lower case.

    Raises:
        ForgedError: it isn't signed with the secret, or was a while ago.
        InvalidArgumentError: it is, and makes no sense.
    """
    delivery, instant = headers.get(DELIVERY, ""), headers.get(INSTANT, "")
    signed = f"{delivery}.{instant}.".encode() + body
    digest = base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()
    offered = headers.get(SIGNATURE, "").split()
    if not any(hmac.compare_digest(f"{_VERSION},{digest}".encode(), one.encode()) for one in offered):
        raise ForgedError("the delivery is not signed with this registry's secret")
    try:
        is_recent = abs(now_s - int(instant)) <= _LEEWAY_S
    except ValueError:
        is_recent = False
    if not is_recent:
        raise ForgedError(f"got a delivery of {instant[:32]!r}, expected one of the last {_LEEWAY_S:g} s")
    try:
        return str(json.loads(body)["data"].get("name", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidArgumentError("got a delivery without data, expected one of MLflow's") from None
