"""Servers of S3 and Google Cloud Storage, processes to pause, kill and start again. They keep objects in memory."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

import fsspec
import httpx

from tests.support.ports import free_port

SECRET = "never-to-be-seen-in-a-log"


class ObjectStore:
    """``location`` is what a registry is told, ``environ`` what its libraries are."""

    location: str
    environ: dict[str, str]

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def start(self, *, with_bucket: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self._command()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(300):
            try:
                httpx.get(self.url)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        if with_bucket:
            self.make_bucket()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def objects(self) -> dict[str, str]:
        """Where objects are, by the digest in their names."""
        files = self.files()
        found: list[str] = files.find("bucket")
        return {path.rpartition("/")[2].partition(".")[0]: path for path in found}

    def files(self) -> Any:
        raise NotImplementedError

    def make_bucket(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError


class S3(ObjectStore):
    """By moto."""

    def __init__(self) -> None:
        super().__init__()
        self.location = "s3://bucket/models"
        self.environ = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "penstock",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def _command(self) -> list[str]:
        return ["moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def files(self) -> Any:
        return fsspec.filesystem(
            "s3", endpoint_url=self.url, key="test", secret="test", use_listings_cache=False, skip_instance_cache=True
        )

    def make_bucket(self) -> None:
        httpx.put(f"{self.url}/bucket").raise_for_status()


class Gcs(ObjectStore):
    """By gcp-storage-emulator, which is no dependency: its tests are for where it is installed, and gcsfs."""

    is_installed = importlib.util.find_spec("gcsfs") is not None and importlib.util.find_spec("gcp_storage_emulator")

    def __init__(self) -> None:
        super().__init__()
        self.location = "gs://bucket/models"
        # It has neither the gRPC API, which gcsfs would ask for the kind of bucket, nor anybody to ask for credentials.
        self.environ = {
            "STORAGE_EMULATOR_HOST": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "NO_GCE_CHECK": "true",
        }

    def _command(self) -> list[str]:
        return ["gcp_storage_emulator", "start", "--in-memory", "--host", "127.0.0.1", "--port", str(self.port)]

    def files(self) -> Any:
        return fsspec.filesystem(
            "gs", endpoint_url=self.url, token="anon", use_listings_cache=False, skip_instance_cache=True
        )

    def make_bucket(self) -> None:
        httpx.post(f"{self.url}/storage/v1/b", json={"name": "bucket"}).raise_for_status()
