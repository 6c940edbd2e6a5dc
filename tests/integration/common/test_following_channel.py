"""Calls go to one of several real servers, and to another when that is gone or fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer, HealthStub, add_HealthServicer_to_server

from services.common.discovery.channel import FollowingChannel
from services.common.discovery.peers import Peers
from services.common.serving import SERVER_OPTIONS
from tests.support.ports import free_port
from tests.support.waiting import until


class Server(HealthServicer):
    """Counts its calls; ``Watch`` sends one message and then nothing more, until it is told to end."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.calls = 0
        self.refuses = False
        self.end = asyncio.Event()
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        add_HealthServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.address) == port

    async def Check(self, _request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext) -> pb.HealthCheckResponse:
        self.calls += 1
        if self.refuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, "of no interest to others")
        return pb.HealthCheckResponse()

    async def Watch(
        self, _request: pb.HealthCheckRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        self.calls += 1
        yield pb.HealthCheckResponse()
        await self.end.wait()

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self.end.set()
        await self._server.stop(None)


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, Server]]:
    """Two that run, by address."""
    made = {server.address: server for server in (Server(free_port()), Server(free_port()))}
    for server in made.values():
        await server.start()
    yield made
    for server in made.values():
        await server.stop()


async def failing(stub: HealthStub) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(pb.HealthCheckRequest(), timeout=5)
    return raised.value.code()


async def test_calls_stay_with_one_peer_until_it_fails_and_then_with_another(servers: dict[str, Server]) -> None:
    async with FollowingChannel(Peers(sorted(servers)), "test") as channel:
        stub, first = HealthStub(channel), servers[channel.address]
        for _ in range(5):
            await stub.Check(pb.HealthCheckRequest())
        assert first.calls == 5
        first.refuses = True
        assert await failing(stub) is grpc.StatusCode.NOT_FOUND
        assert servers[channel.address] is first  # it answers, so nothing is wrong with it

        await first.stop()
        assert await failing(stub) is grpc.StatusCode.UNAVAILABLE
        await stub.Check(pb.HealthCheckRequest())

        assert servers[channel.address] is not first


async def test_a_peer_that_is_alone_is_called_again_and_again() -> None:
    server = Server(free_port())
    async with FollowingChannel(Peers([server.address]), "test") as channel:
        await server.start()
        stub = HealthStub(channel)
        await stub.Check(pb.HealthCheckRequest())
        await server.stop()
        assert await failing(stub) is grpc.StatusCode.UNAVAILABLE

        again = Server(int(server.address.partition(":")[2]))
        await again.start()
        await until(lambda: is_answered(stub))
        await again.stop()


async def is_answered(stub: HealthStub) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await stub.Check(pb.HealthCheckRequest())
        return True
    return False


async def test_a_stream_from_a_peer_that_is_none_any_more_ends_and_the_next_call_goes_elsewhere(
    servers: dict[str, Server],
) -> None:
    peers = Peers(sorted(servers))
    async with FollowingChannel(peers, "test") as channel:
        stub, gone = HealthStub(channel), channel.address
        stream = stub.Watch(pb.HealthCheckRequest())
        await stream.read()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)

        peers.update(servers.keys() - {gone})

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await reading
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        await stub.Check(pb.HealthCheckRequest())
        assert (channel.address != gone, servers[gone].calls) == (True, 1)


async def test_who_reads_a_stream_can_be_cancelled(servers: dict[str, Server]) -> None:
    async with FollowingChannel(Peers(sorted(servers)), "test") as channel:
        stream = HealthStub(channel).Watch(pb.HealthCheckRequest())
        await stream.read()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        reading.cancel()

        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_a_stream_that_ends_in_order_has_an_end(servers: dict[str, Server]) -> None:
    async with FollowingChannel(Peers(sorted(servers)), "test") as channel:
        stream = HealthStub(channel).Watch(pb.HealthCheckRequest())
        await stream.read()
        servers[channel.address].end.set()

        assert await stream.read() is grpc.aio.EOF


async def test_new_peers_move_nobody_and_a_silent_one_can_be_left(servers: dict[str, Server]) -> None:
    one, other = sorted(servers)
    peers = Peers([one])
    async with FollowingChannel(peers, "test") as channel:
        channel.leave()
        assert channel.address == one  # where else
        peers.update(servers)
        assert channel.address == one
        channel.leave()
        assert channel.address == other
        await HealthStub(channel).Check(pb.HealthCheckRequest())
        channel.leave()
        assert channel.address == one
