"""The route for MLflow's webhooks, called by strangers and as MLflow does; MLflow itself: test_records_libraries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.registry.settings import RegistrySettings
from tests.support.ports import free_port
from tests.support.registry import running_registry

SECRET = "a secret"
BODY = json.dumps({"data": {"name": "digits"}}).encode()


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    port = free_port()
    monkeypatch.setenv("PENSTOCK_REGISTRY__WEBHOOK_PORT", str(port))
    monkeypatch.setenv("PENSTOCK_REGISTRY__WEBHOOK_SECRET", SECRET)
    async with running_registry(tmp_path):
        yield f"http://127.0.0.1:{port}/v1/webhooks/mlflow"


def headers(body: bytes, *, secret: str = SECRET) -> dict[str, str]:
    instant = str(int(time.time()))
    digest = hmac.digest(secret.encode(), f"one.{instant}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"X-MLflow-Delivery-Id": "one", "X-MLflow-Timestamp": instant, "X-MLflow-Signature": signature}


async def test_only_what_is_signed_is_taken(url: str) -> None:
    large = b" " * 70_000
    async with httpx.AsyncClient() as client:
        assert (await client.post(url, content=BODY, headers=headers(BODY))).status_code == 202
        assert (await client.post(url, content=BODY)).status_code == 401
        assert (await client.post(url, content=BODY, headers=headers(BODY, secret="other"))).status_code == 401
        assert (await client.post(url, content=b"{}", headers=headers(b"{}"))).status_code == 400
        assert (await client.post(url, content=large, headers=headers(large))).status_code == 413
        assert (await client.get(url)).status_code == 404
        assert (await client.post(f"{url}/other", content=BODY)).status_code == 404


async def test_webhooks_without_a_secret_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_REGISTRY__WEBHOOK_PORT", str(free_port()))
    with pytest.raises(ValueError, match="WEBHOOK_SECRET"):
        async with running_registry(tmp_path):
            pass


@pytest.mark.parametrize("records", ["http://mlflow:5000", "mlflow:", "tensorboard:/a,other:b"])
def test_records_go_to_places_that_are_known(records: str) -> None:
    with pytest.raises(ValueError, match="expected mlflow:URI or tensorboard:PATH"):
        RegistrySettings(records=records)
