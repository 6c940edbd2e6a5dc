"""The database alone: schema, writers, readers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from services.common.errors import NotFoundError
from services.registry import models, versions
from services.registry.adapters import artifact_rows, schema, tables
from services.registry.adapters.artifact_rows import Described
from services.registry.adapters.database import Database
from services.registry.adapters.transaction import Transaction
from services.registry.domain.garbage import Stored
from services.registry.domain.resources import Artifact, Deployment, Model, OptimizationLevel, Slo
from tests.support.registry import Clock


def open_database(url: str) -> Database:
    return Database(url, clock=Clock(), changes_kept=10_000)


async def test_the_migrations_make_the_tables_that_the_code_reads(database_url: str) -> None:
    database = open_database(database_url)
    await database.migrate()
    await database.migrate()
    database.close()

    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        assert context.get_current_revision() == tables.REVISION
    engine.dispose()


async def test_a_database_of_the_first_release_is_brought_up_with_what_is_in_it(database_url: str) -> None:
    at, content = "1, 1, 'e'", "a" * 64
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    engine = sqlalchemy.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(f"INSERT INTO models VALUES ('m', '', '{{}}', 1, {at})")
        connection.exec_driver_sql(f"INSERT INTO artifacts VALUES ('{content}', 3, 0)")
        connection.exec_driver_sql(
            f"INSERT INTO model_versions VALUES ('m', 1, '{content}', 'a.onnx', 1, false, NULL, 3, '', NULL, "
            f"'{{}}', '{{}}', {at}, '', 0)"
        )
        connection.exec_driver_sql("INSERT INTO aliases VALUES ('m', 'best', 1, 1, 'e')")
        connection.exec_driver_sql(f"INSERT INTO deployments VALUES ('m', '[]', 1, '{{}}', '{{}}', {at})")
    engine.dispose()
    database = open_database(database_url)

    await database.migrate()

    version = await database.read(versions.get_version, "models/m/versions/1")
    assert version.files == (Artifact(content, 3, "a.onnx"),)
    deployment = await database.read(lambda tx: tx.get(Deployment, "m"))
    assert (deployment.replicas, deployment.optimization, deployment.slo) == (1, OptimizationLevel.UNSPECIFIED, Slo())
    assert await database.read(artifact_rows.describe_versions, ["m"]) == {version.name: Described(3, "onnx")}
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        await database.write(lambda tx: tx.delete(version))
    await database.write(lambda tx: tx.delete(deployment))
    await database.write(models.delete_model, "models/m", etag="")  # with what refers to it
    stored = Stored(content, 3, f"{content[:2]}/{content}")
    assert await database.read(artifact_rows.list_unneeded, kept_until_ns=0) == [stored]
    database.close()


async def test_registries_that_start_together_migrate_once(database_url: str) -> None:
    databases = [open_database(database_url) for _ in range(4)]

    await asyncio.gather(*(database.migrate() for database in databases))

    assert len({await database.read(lambda tx: tx.revision) for database in databases}) == 1
    for database in databases:
        database.close()


async def test_many_writers_of_many_processes_lose_nothing(database_url: str) -> None:
    """Each adds its letter to what is there; had one read what another was changing, a letter would be lost."""
    databases = [open_database(database_url) for _ in range(3)]
    await databases[0].migrate()
    await databases[0].write(models.create_model, Model(id="digits"), request_id="")
    before = await databases[0].read(lambda tx: tx.revision)

    def add(tx: Transaction, letter: str) -> None:
        model = tx.get(Model, "digits")
        tx.put(replace(model, description=model.description + letter))

    letters = [chr(ord("a") + number % 26) for number in range(150)]
    await asyncio.gather(*(databases[number % 3].write(add, letter) for number, letter in enumerate(letters)))

    model = await databases[1].read(models.get_model, "models/digits")
    assert sorted(model.description) == sorted(letters)
    assert await databases[2].read(lambda tx: tx.revision) == before + len(letters)
    for database in databases:
        database.close()


async def test_a_verb_that_fails_writes_nothing(database_url: str) -> None:
    database = open_database(database_url)
    await database.migrate()
    before = await database.read(lambda tx: tx.revision)

    def fail(tx: Transaction) -> None:
        models.create_model(tx, Model(id="digits"), request_id="")
        tx.get(Model, "none")

    with pytest.raises(NotFoundError):
        await database.write(fail)

    assert await database.read(lambda tx: (tx.revision, tx.select(Model))) == (before, [])
    database.close()


async def test_a_cancelled_write_is_either_done_or_never_begun(database_url: str) -> None:
    database = open_database(database_url)
    await database.migrate()
    start = await database.read(lambda tx: tx.revision)
    writes = [
        asyncio.create_task(database.write(models.create_model, Model(id=f"m{number}"), request_id=""))
        for number in range(20)
    ]
    before = await database.read(lambda tx: tx.revision)
    for write in writes:
        write.cancel()
    done = await asyncio.gather(*writes, return_exceptions=True)

    # Nothing goes on once the callers are gone.
    stored, revision = await database.read(lambda tx: ({model.name for model in tx.select(Model)}, tx.revision))
    await asyncio.sleep(0.05)
    assert await database.read(lambda tx: tx.revision) == revision
    assert {model.name for model in done if isinstance(model, Model)} <= stored
    assert before <= revision == start + len(stored)
    database.close()


async def test_a_reader_sees_one_state_while_others_write(database_url: str) -> None:
    database, other = open_database(database_url), open_database(database_url)
    await database.migrate()
    entered, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_twice(tx: Transaction) -> tuple[int, int]:
        first = len(tx.select(Model))
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return first, len(tx.select(Model))

    reading = asyncio.create_task(database.read(read_twice))
    await entered.wait()
    await other.write(models.create_model, Model(id="digits"), request_id="")
    go_on.set()

    assert await reading == (0, 0)
    assert len(await database.read(lambda tx: tx.select(Model))) == 1
    database.close()
    other.close()


async def test_a_database_file_is_where_it_was_asked_for(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/folder with spaces.db")
    await database.migrate()
    database.close()

    assert (tmp_path / "folder with spaces.db").exists()
