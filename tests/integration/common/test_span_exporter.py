"""Spans reach a real OTLP receiver, and one that is away or refuses them does no harm."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import pytest

from services.common.discovery.peers import Peers
from services.common.tracing import SpanExporter, SpanKind, TraceContext
from tests.support.otlp_receiver import Receiver
from tests.support.ports import free_port
from tests.support.waiting import until


def exporter_to(port: int, **options: Any) -> SpanExporter:
    return SpanExporter(
        receivers=Peers.at(f"127.0.0.1:{port}"), service="penstock-test", instance="i", version="1", **options
    )


def export(exporter: SpanExporter, name: str, **rest: Any) -> None:
    context = TraceContext.new_root(is_sampled=True)
    exporter.export(name, context, kind=SpanKind.INTERNAL, start_ns=1, end_ns=2, **rest)


async def test_spans_leave_by_themselves_and_the_rest_on_closing() -> None:
    receiver, port = Receiver(), free_port()
    async with receiver.listening(port):
        exporter = exporter_to(port)
        export(exporter, "first")
        await receiver.wait_for("first")
        names = [str(number) for number in range(2_000)]
        for name in names:
            export(exporter, name, attributes={"large": bytes(500)})
        await exporter.close()

    assert receiver.names == ["first", *names]
    resource = receiver.requests[0].resource_spans[0].resource
    told = {one.key: one.value.string_value for one in resource.attributes}
    assert (told["service.name"], told["service.instance.id"]) == ("penstock-test", "i")
    assert told["telemetry.sdk.name"] == "opentelemetry"


async def test_spans_wait_a_little_for_a_receiver_that_starts_or_starts_again() -> None:
    receiver, port = Receiver(), free_port()
    exporter = exporter_to(port)
    export(exporter, "early")
    async with receiver.listening(port):
        await receiver.wait_for("early")
    async with receiver.listening(port):
        export(exporter, "late")
        await receiver.wait_for("late")
        await exporter.close()


async def test_a_receiver_that_is_away_costs_spans_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    exporter = exporter_to(port, max_queued=1_000)
    for number in range(5_000):
        export(exporter, str(number))

    with caplog.at_level(logging.WARNING):
        await exporter.close()

    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"spans can't be sent to 127.0.0.1:{port}, and are dropped"
    ]
    assert exporter.results == {"sent": 0, "dropped": 5_000}


@pytest.mark.parametrize("endpoint", ["localhost", "127.0.0.1:99999"])
async def test_an_endpoint_that_is_none_is_one_that_is_away(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    exporter = SpanExporter(receivers=Peers([endpoint]), service="penstock-test", instance="i", version="1")
    export(exporter, "lost")

    with caplog.at_level(logging.WARNING):
        await exporter.close()

    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"spans can't be sent to {endpoint}, and are dropped"
    ]


async def test_no_more_spans_wait_than_allowed() -> None:
    receiver, port = Receiver(), free_port()
    exporter = exporter_to(port, max_queued=1_000)
    for number in range(5_000):
        export(exporter, str(number))
    async with receiver.listening(port):
        await exporter.close()

    assert receiver.names == [str(number) for number in range(1_000)]
    assert exporter.results == {"sent": 1_000, "dropped": 4_000}


async def test_a_receiver_that_refuses_spans_is_offered_the_next(caplog: pytest.LogCaptureFixture) -> None:
    receiver, port = Receiver(), free_port()
    receiver.refuses = True
    async with receiver.listening(port):
        exporter = exporter_to(port)
        with caplog.at_level(logging.WARNING):
            for name in ("refused", "refused too"):
                export(exporter, name)
                await receiver.wait_for(name)
            receiver.refuses = False
            export(exporter, "taken")
            await receiver.wait_for("taken")
            await exporter.close()

    assert [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()] == [
        f"spans can't be sent to 127.0.0.1:{port}, and are dropped: there is no room (status 8)"
    ]
    assert exporter.results == {"sent": 1, "dropped": 2}


async def test_a_receiver_that_never_answers_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.tracing._LAST_SPANS_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = exporter_to(silent.getsockname()[1])
        export(exporter, "lost")
        await exporter.close()


async def test_of_several_receivers_the_first_gets_all_and_the_next_only_while_it_is_away() -> None:
    first, second = Receiver(), Receiver()
    ports = sorted([free_port(), free_port()])
    receivers = Peers([f"127.0.0.1:{port}" for port in ports])
    exporter = SpanExporter(receivers=receivers, service="penstock-test", instance="i", version="1")
    async with second.listening(ports[1]):
        async with first.listening(ports[0]):
            export(exporter, "one")
            await until(lambda: exporter.results["sent"] == 1)
        export(exporter, "two")
        await until(lambda: exporter.results["sent"] == 2)
        async with first.listening(ports[0]):
            exporter._failed_at = {address: at - 60 for address, at in exporter._failed_at.items()}  # a minute later
            export(exporter, "three")
            await until(lambda: exporter.results["sent"] == 3)
    await exporter.close()

    assert (first.names, second.names) == (["one", "three"], ["two"])
    assert exporter.results == {"sent": 3, "dropped": 0}


async def test_spans_go_where_their_receivers_have_gone() -> None:
    old, new = Receiver(), Receiver()
    ports = [free_port(), free_port()]
    receivers = Peers.at(f"127.0.0.1:{ports[0]}")
    exporter = SpanExporter(receivers=receivers, service="penstock-test", instance="i", version="1")
    async with old.listening(ports[0]), new.listening(ports[1]):
        export(exporter, "before")
        await until(lambda: exporter.results["sent"] == 1)
        receivers.update([f"127.0.0.1:{ports[1]}"])
        export(exporter, "after")
        await new.wait_for("after")
        await exporter.close()

    assert (old.names, new.names) == (["before"], ["after"])


async def test_a_receiver_that_leaves_while_it_is_asked_does_not_cost_spans() -> None:
    port = free_port()
    receiver = Receiver()
    exporter = exporter_to(port)
    receiver.leaves = True
    async with receiver.listening(port):
        export(exporter, "kept")
        await receiver.wait_for("kept")
        receiver.leaves = False
        await receiver.wait_for("kept", times=2)
        await exporter.close()

    assert exporter.results == {"sent": 1, "dropped": 0}


async def test_a_receiver_that_has_no_room_for_a_moment_does_not_cost_spans() -> None:
    receiver, port = Receiver(), free_port()
    exporter = exporter_to(port)
    receiver.is_full = True
    async with receiver.listening(port):
        export(exporter, "kept")
        await receiver.wait_for("kept")
        refused_s = time.monotonic()
        receiver.is_full = False
        await receiver.wait_for("kept", times=2)
        assert time.monotonic() - refused_s > 0.8, "it is asked again when it said"
        await exporter.close()

    assert exporter.results == {"sent": 1, "dropped": 0}


async def test_a_receiver_that_never_has_room_costs_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.tracing._TIMEOUT_S", 1.5)
    receiver, port = Receiver(), free_port()
    exporter = exporter_to(port)
    receiver.is_full = True
    async with receiver.listening(port):
        export(exporter, "lost")
        await until(lambda: exporter.results["dropped"] == 1)
        await exporter.close()

    assert 2 <= receiver.names.count("lost") <= 3
