"""A real Consul: processes are found, lost and found again, through its own restarts too."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.server
import logging
import threading
from collections.abc import AsyncIterator

import grpc
import pytest

from penstock.endpoints import joined
from services.common.discovery.discovery import Discovery
from services.common.discovery.peers import Peers
from services.common.discovery.registration import REGISTRY, CheckKind, Registration
from services.common.discovery.settings import ConsulSettings
from services.common.serving import SERVER_OPTIONS, Health
from tests.support.consul import ConsulServer
from tests.support.ports import free_port
from tests.support.waiting import until

KNOWN = "127.0.0.1:9"


class Process:
    """As much of a service as Consul sees: a port, its health, its own dealings with Consul."""

    def __init__(self, consul: ConsulServer, *, host: str = "127.0.0.1", port: int = 0, token: str = "") -> None:
        self.discovery = Discovery(ConsulSettings(http_addr=consul.address, http_token=token))  # type: ignore[arg-type]
        self.server = grpc.aio.server(options=SERVER_OPTIONS)
        self.health = Health()
        self.where = Registration(REGISTRY, host, port or self.server.add_insecure_port(joined(host, 0)))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        await self.health.attach(self.server)
        await self.server.start()
        await self.health.set_serving(is_serving=True)
        self.discovery.announce(self.where)
        try:
            async with following(self.discovery):
                yield self
        finally:
            await self.discovery.withdraw()
            await self.server.stop(None)


@contextlib.asynccontextmanager
async def following(discovery: Discovery) -> AsyncIterator[None]:
    task = asyncio.create_task(discovery.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def watching(consul: ConsulServer) -> AsyncIterator[Peers]:
    """What another process knows of them."""
    discovery = Discovery(ConsulSettings(http_addr=consul.address))
    peers = discovery.find(REGISTRY, KNOWN)
    async with following(discovery):
        yield peers


def known(*processes: Process) -> tuple[str, ...]:
    return tuple(sorted(process.where.address for process in processes))


async def test_processes_are_found_while_they_are_well_and_the_last_one_known_is_kept(consul: ConsulServer) -> None:
    async with watching(consul) as peers:
        one, other = Process(consul), Process(consul)
        async with one.running(), other.running():
            await until(lambda: peers.addresses == known(one, other))

            await one.health.set_serving(is_serving=False)
            await until(lambda: peers.addresses == known(other))
            await one.health.set_serving(is_serving=True)
            await until(lambda: peers.addresses == known(one, other))

            await one.discovery.withdraw()
            assert consul.services() == {other.where.id}
            await until(lambda: peers.addresses == known(other))

        assert consul.services() == set()
        third = Process(consul)
        async with third.running():
            await until(lambda: peers.addresses == known(third))  # and none in between


async def test_a_consul_that_comes_back_empty_hears_of_everybody_again(consul: ConsulServer) -> None:
    async with watching(consul) as peers:
        one, other = Process(consul), Process(consul)
        async with one.running(), other.running():
            await until(lambda: peers.addresses == known(one, other))
            seen = [peers.addresses]
            peers.on_change(lambda: seen.append(peers.addresses))

            consul.kill()
            await until(lambda: not one.discovery.is_answered)
            assert peers.addresses == known(one, other)
            await asyncio.to_thread(consul.start)

            await until(lambda: consul.healthy(REGISTRY) == {one.where.port, other.where.port})
            await until(lambda: peers.addresses == known(one, other))
            assert one.discovery.is_answered
            assert all(seen)


async def test_what_changed_while_a_consul_with_a_memory_was_away_is_seen_when_it_is_back() -> None:
    with ConsulServer(keeps_state=True) as consul:
        async with watching(consul) as peers:
            one, other = Process(consul), Process(consul)
            async with one.running():
                async with other.running():
                    await until(lambda: peers.addresses == known(one, other))
                    consul.kill()
                await asyncio.to_thread(consul.start)
                await until(lambda: peers.addresses == known(one))


async def test_a_consul_that_starts_late_is_no_obstacle() -> None:
    consul = ConsulServer()
    async with watching(consul) as peers, Process(consul).running() as process:
        await until(lambda: process.discovery._failures)
        assert peers.addresses == (KNOWN,)
        with consul:
            await until(lambda: peers.addresses == known(process))


async def test_a_frozen_consul_holds_nobody_up(consul: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.discovery.consul_agent._ANSWER_WITHIN_S", 0.5)
    monkeypatch.setattr("services.common.discovery.consul_agent._WAIT_S", 1)
    async with watching(consul) as peers, Process(consul).running() as process:
        await until(lambda: peers.addresses == known(process))
        consul.freeze()
        await until(lambda: not process.discovery.is_answered)
        await process.discovery.withdraw()
        assert peers.addresses == known(process)


async def test_who_left_does_not_take_its_successor_at_the_same_address_along(consul: ConsulServer) -> None:
    async with Process(consul).running() as old:
        await until(lambda: consul.healthy(REGISTRY))
        new = Process(consul, port=old.where.port)
        new.discovery.announce(new.where)
        async with following(new.discovery):
            await until(lambda: "register this process" in new.discovery._failures)
            await old.discovery.withdraw()
            assert consul.services() == {new.where.id}
            await new.discovery.withdraw()
    assert consul.services() == set()


async def test_a_port_may_be_all_that_consul_looks_at(consul: ConsulServer) -> None:
    locked = Process(consul)
    locked.where = dataclasses.replace(locked.where, check=CheckKind.TCP)
    async with watching(consul) as peers, locked.running():
        await locked.health.set_serving(is_serving=False)
        await until(lambda: peers.addresses == known(locked))


async def test_a_host_may_have_an_address_of_version_6(consul: ConsulServer) -> None:
    six = Process(consul, host="::1")
    if not six.where.port:
        pytest.skip("this machine has no IPv6 loopback")
    async with watching(consul) as peers, six.running():
        await until(lambda: peers.addresses == known(six))
        assert peers.addresses == (f"[::1]:{six.where.port}",)


async def test_a_token_that_is_refused_is_told_of_once_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    master = "5d1a2f8e-0000-4000-8000-000000000001"
    rules = f'acl {{ enabled = true\n default_policy = "deny"\n tokens {{ master = "{master}" }} }}'
    with ConsulServer(hcl=rules, token=master) as consul, caplog.at_level(logging.WARNING):
        async with Process(consul, token="5d1a2f8e-0000-4000-8000-000000000002").running() as stranger:
            await until(lambda: stranger.discovery._failures)
            async with Process(consul, token=master).running() as member:
                await until(lambda: consul.healthy(REGISTRY) == {member.where.port})
            assert not stranger.discovery.is_answered

    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith(f"Consul at {consul.address} doesn't register this process: it refuses CONSUL_HTTP_TOKEN")


async def test_something_else_at_consul_s_address_is_a_consul_that_is_away() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        discovery = Discovery(ConsulSettings(http_addr=f"127.0.0.1:{server.server_port}"))
        peers = discovery.find(REGISTRY, KNOWN)
        discovery.announce(Registration(REGISTRY, "127.0.0.1", free_port()))
        async with following(discovery):
            await until(lambda: len(discovery._failures) == 2)
            assert not discovery.is_answered
            assert peers.addresses == (KNOWN,)
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
