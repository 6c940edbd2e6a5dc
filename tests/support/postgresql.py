"""A real PostgreSQL, from the ``pgserver`` wheel."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg


class PostgresqlUnavailableError(Exception):
    """It does not run on this machine."""


class Postgresql:
    """One server; each database is made for one test."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped afterwards."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        yield self._url.replace("/postgres?", f"/{name}?")
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def closed(self, url: str) -> Iterator[None]:
        """Throw everybody out of a database, and let nobody in."""
        name = url.split("/")[3].split("?", maxsplit=1)[0]
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextlib.contextmanager
def running_postgresql() -> Iterator[Postgresql]:
    """Raises: PostgresqlUnavailableError."""
    with tempfile.TemporaryDirectory() as folder:
        # The wheel keeps its lock file there, and warns where there is no such folder.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pgserver

                server = pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
        except Exception as error:
            raise PostgresqlUnavailableError(f"PostgreSQL does not run here: {error!r}") from error
        yield Postgresql(server.get_uri())
        server.cleanup()
