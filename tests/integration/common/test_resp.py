"""The lean connection to Redis, against the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import hiredis
import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from services.common.resp import RespConnection
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[RespConnection]:
    made = await RespConnection.open(redis_url, within_s=5)
    yield made
    await made.close()


async def test_each_caller_gets_its_own_answers(connection: RespConnection) -> None:
    first = connection.execute(("SET", "a", 1), ("GET", "a"), within_s=5)
    second = connection.execute(("GET", b"nothing"), within_s=5)
    assert (await first, await second) == ([b"OK", b"1"], [None])


async def test_a_refusal_is_raised_and_later_answers_still_fit(connection: RespConnection) -> None:
    refused = connection.execute(("SET", "a", "text"), ("INCR", "a"), ("SET", "b", 2), within_s=5)
    following = connection.execute(("GET", "b"), within_s=5)
    with pytest.raises(ResponseError, match="not an integer"):
        await refused
    assert await following == [b"2"]


async def test_an_answer_that_nobody_waits_for_any_more_is_skipped(connection: RespConnection) -> None:
    connection.execute(("PING",), within_s=5).cancel()
    assert await connection.execute(("ECHO", "x"), within_s=5) == [b"x"]


async def test_an_overdue_answer_breaks_the_connection(connection: RespConnection) -> None:
    with pytest.raises(RedisConnectionError):
        await connection.execute(("BLPOP", "nothing", 0), within_s=0.1)
    assert connection.is_closed
    with pytest.raises(RedisConnectionError, match="closed"):
        await connection.execute(("PING",), within_s=5)


async def test_whoever_is_called_back_hears_what_came_before_the_connection_broke(
    connection: RespConnection, redis_url: str
) -> None:
    (name,) = await connection.execute(("CLIENT", "ID"), within_s=10)
    heard: asyncio.Future[tuple[list[Any], Exception | None]] = asyncio.get_running_loop().create_future()
    commands = [("ECHO", "x"), ("BLPOP", "nothing", "0")]
    connection.send(
        b"".join(map(hiredis.pack_command, commands)),
        len(commands),
        lambda answers, error: heard.set_result((answers, error)),
        within_s=30,
    )
    async with redis.asyncio.Redis.from_url(redis_url) as other:
        while not (await other.info("clients"))["blocked_clients"]:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.001)
        await other.client_kill_filter(_id=str(name))
    answers, error = await heard
    assert answers == [b"x"]
    assert isinstance(error, RedisConnectionError)


async def test_large_values_pass(connection: RespConnection) -> None:
    value = bytes(3_000_000)
    assert await connection.execute(("SET", "a", value), ("GET", "a"), within_s=10) == [b"OK", value]


async def test_nobody_listening_is_an_error() -> None:
    with pytest.raises((RedisError, OSError)):
        await RespConnection.open(f"redis://127.0.0.1:{free_port()}", within_s=5)


async def test_password_and_database_of_the_url_are_heeded(redis_server: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        await client.config_set("requirepass", "secret")
    path = redis_server.url.removeprefix("unix://")
    connection = await RespConnection.open(f"unix://:secret@{path}?db=3", within_s=10)
    (listed,) = await connection.execute(("CLIENT", "LIST"), within_s=10)
    assert b" db=3 " in listed
    await connection.close()
    with pytest.raises(RedisError):
        await RespConnection.open(redis_server.url, within_s=10)
