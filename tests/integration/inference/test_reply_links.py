"""One reply link against a real gRPC server: what is sent again, and when a gateway counts as gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from penstock.gateway.v1 import reply_service_pb2 as pb
from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.errors import UnavailableError
from services.common.lanes import Entry, LaneKeys
from services.inference.model_process import gateways, reply_link
from services.inference.model_process.execution import Outcome
from services.inference.model_process.gateways import ReplyStreams
from services.inference.model_process.lane import Delivery
from services.inference.model_process.reply_link import ReplyLink
from services.inference.model_process.worker import Settled
from tests.support.fake_gateway import FakeGateway
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until

HELLO = pb.Hello(consumer="me", model="m", version="1")


def gateway(kind: type[FakeGateway] = FakeGateway) -> FakeGateway:
    return kind(redis=None, keys=LaneKeys("m", "1"))  # type: ignore[arg-type]


def delivery(number: int) -> Delivery:
    return Delivery("lane", b"%d-0" % number, Entry(Envelope(request_key=number), b"x", "", "", 1, 2))


def to(gateway: FakeGateway, number: int) -> Delivery:
    address = f"127.0.0.1:{gateway.port}"
    envelope = Envelope(request_key=number, gateway_id=gateway.gateway_id, reply_address=address)
    return Delivery("lane", b"%d-0" % number, Entry(envelope, b"x", "", "", 1, 2))


@asynccontextmanager
async def linked(gateway: FakeGateway, settled: list[Delivery], *, address: str = "") -> AsyncIterator[ReplyLink]:
    def settle(deliveries: Sequence[Delivery]) -> None:
        settled.extend(deliveries)

    link = ReplyLink(
        address or f"127.0.0.1:{gateway.port}",
        gateway.gateway_id,
        hello=HELLO,
        on_settled=settle,
        on_cancelled=lambda _: None,
        on_handover=lambda _: True,
    )
    running = asyncio.create_task(link.run())
    try:
        yield link
        assert not running.done(), "the link ended by itself"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def send(link: ReplyLink, number: int) -> None:
    message = pb.ConnectRequest(batch_reply=pb.BatchReply(replies=[pb.Reply(request_key=number)]))
    link.send(message, [delivery(number)])


async def test_a_stream_that_was_quiet_for_long_before_it_broke_does_not_make_its_gateway_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reply_link, "GONE_AFTER_S", 1.0)
    monkeypatch.setattr(reply_link, "FORGOTTEN_AFTER_S", 2.0)
    settled: list[Delivery] = []
    first = gateway()
    await first.start()
    async with linked(first, settled) as link:
        await until(lambda: first.hellos)
        await asyncio.sleep(2.2)
        first.gives_receipts = False
        send(link, 1)
        await until(lambda: first.batches)
        await first.stop()
        await asyncio.sleep(0.2)
        assert not link.is_gone
        assert settled == []
        first.gives_receipts = True
        async with first:  # the same gateway can be reached again
            await until(lambda: settled)
            assert [batch.sequence for batch in first.batches] == [1, 1]


class Impatient(FakeGateway):
    """Ends its first stream with the status CANCELLED, without a receipt."""

    async def Connect(self, messages: Any, context: Any) -> None:
        self.gives_receipts = bool(self.hellos)
        if self.gives_receipts:
            await super().Connect(messages, context)
            return
        self.hellos.append((await context.read()).hello)
        await context.write(pb.ConnectResponse(welcome=pb.Welcome(gateway_id=self.gateway_id)))
        await context.read()
        await context.abort(grpc.StatusCode.CANCELLED, "enough")


async def test_replies_that_are_too_large_for_one_message_go_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "_MESSAGE_BYTES", 10)
    settled: list[Delivery] = []
    streams = ReplyStreams(HELLO, on_settled=settled.extend, on_handover=lambda _: True)
    async with gateway() as one:
        sizes = (4, 6, 1, 20, 20, 1)
        streams.reply([Settled(to(one, number), Outcome(b"x" * size)) for number, size in enumerate(sizes)], None)
        await until(lambda: len(settled) == len(sizes))
        assert [[len(reply.response) for reply in batch.replies] for batch in one.batches] == [
            [4, 6],
            [1],
            [20],
            [20],
            [1],
        ]
        await streams.close()


async def test_a_stream_that_its_gateway_cancels_is_opened_again() -> None:
    settled: list[Delivery] = []
    async with gateway(Impatient) as one, linked(one, settled) as link:
        send(link, 1)
        await until(lambda: settled)
        assert len(one.hellos) == 2


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:x", "127.0.0.1:1"])
async def test_nobody_waits_for_the_replies_of_a_gateway_that_cannot_be_reached(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_link, "GONE_AFTER_S", 0.2)
    settled: list[Delivery] = []
    link = ReplyLink(
        address, "g", hello=HELLO, on_settled=settled.extend, on_cancelled=lambda _: None, on_handover=lambda _: True
    )
    running = asyncio.create_task(link.run())
    send(link, 1)
    await until(lambda: settled)
    assert link.is_gone
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_bytes_are_fetched_again_when_the_connection_is_lost_on_the_way() -> None:
    async with gateway() as first, TcpProxy(f"127.0.0.1:{first.port}") as way:
        first.payloads[1] = content = bytes(3_000_000)
        async with linked(first, [], address=way.address) as link:
            await until(lambda: first.hellos)
            way.down.stall()
            fetching = asyncio.create_task(link.fetch(1, len(content)))
            await asyncio.sleep(0.1)
            await way.cut()
            way.resume()
            await asyncio.sleep(0.1)
            assert not fetching.done()
            await way.listen()
            assert await fetching == content
            assert await link.fetch(2, 5) is None


async def test_bytes_of_a_gateway_that_is_gone_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_link, "GONE_AFTER_S", 0.3)
    async with gateway() as first, TcpProxy(f"127.0.0.1:{first.port}") as way, AsyncExitStack() as stack:
        link = await stack.enter_async_context(linked(first, [], address=way.address))
        await until(lambda: first.hellos)
        await way.cut()
        with pytest.raises(UnavailableError):
            await link.fetch(1, 5)
