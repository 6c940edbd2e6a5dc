"""Real model processes, a real Redis, a gateway that takes replies."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from redis.asyncio import Redis
from tritonclient.grpc import service_pb2

from services.common.lanes import GROUP, LEASE_MS, LaneKeys
from services.common.redis_connection import connect
from services.inference.domain.fleet import Batching
from tests.support.fake_gateway import FakeGateway, infer_request, output_of
from tests.support.model_processes import ModelProcess, as_long_as_told_onnx
from tests.support.models import identity_onnx
from tests.support.otlp_receiver import Receiver
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

KEYS = LaneKeys("m", "1")
STREAM = KEYS.stream(0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return identity_onnx(tmp_path / "model.onnx")


def rows(count: int, value: float) -> NDArray[np.float32]:
    return np.full((count, 16), value, np.float32)


async def is_empty(redis: Redis) -> bool:
    """True when the stream holds nothing, acknowledged or not."""
    return await redis.xlen(STREAM) == 0 and (await redis.xpending(STREAM, GROUP))["pending"] == 0


async def test_each_request_gets_its_own_rows(gateway: FakeGateway, model: Path, redis_url: str, redis: Redis) -> None:
    sizes = list(itertools.islice(itertools.cycle([1, 3, 2]), 60))
    keys = [await gateway.send(infer_request(rows(size, n)), rows=size) for n, size in enumerate(sizes)]
    async with ModelProcess(model, redis_url) as process:
        for n, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            np.testing.assert_array_equal(output_of(await gateway.reply_to(key)), rows(size, n))
        process.child.terminate()
        assert await process.ended() == ""

    assert all(batch.batch_rows <= 8 for batch in gateway.batches)
    assert sum(batch.is_execution_counted for batch in gateway.batches) == len(gateway.batches) < 30
    assert await is_empty(redis)
    assert await redis.zcard(KEYS.leases) == 0
    assert await redis.xinfo_consumers(STREAM, GROUP) == []


async def test_a_lone_request_is_answered_at_once(gateway: FakeGateway, model: Path, redis_url: str) -> None:
    async with ModelProcess(model, redis_url):
        await gateway.ask(rows(1, 0))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await gateway.ask(rows(1, 1))
        assert loop.time() - start < 0.05


async def test_the_reply_says_what_was_asked_and_where_the_time_went(
    gateway: FakeGateway, model: Path, redis_url: str
) -> None:
    async with ModelProcess(model, redis_url):
        key = await gateway.send(infer_request(rows(2, 5), request_id="mine"), rows=2)
        reply = await gateway.reply_to(key)

    response = service_pb2.ModelInferResponse.FromString(reply.response)
    batch = gateway.batches[0]
    assert (response.id, response.model_name, response.model_version) == ("mine", "m", "1")
    assert (response.outputs[0].name, response.outputs[0].datatype, list(response.outputs[0].shape)) == (
        "OUTPUT0",
        "FP32",
        [2, 16],
    )
    assert (reply.rows, reply.attempt, batch.batch_rows, batch.sequence) == (2, 1, 2, 1)
    assert reply.queue_ns > 0
    assert batch.compute_infer_ns > 0
    assert (len(batch.trace_id), len(batch.span_id)) == (16, 8)
    assert (gateway.hellos[0].model, gateway.hellos[0].version) == ("m", "1")


async def test_bad_requests_get_an_error_and_leave_the_others_alone(
    gateway: FakeGateway, model: Path, redis_url: str, redis: Redis
) -> None:
    bad = {
        await gateway.send(b"\xff\xff"): "can't be parsed",
        await gateway.send(infer_request(rows(1, 1), name="WRONG")): "got input 'WRONG'",
        await gateway.send(infer_request(np.zeros((1, 15), np.float32))): "got shape [1, 15] for input 'INPUT0'",
    }
    good = await gateway.send(infer_request(rows(1, 7)))
    await redis.xadd(STREAM, {"this": "is no request of ours"})
    async with ModelProcess(model, redis_url):
        np.testing.assert_array_equal(output_of(await gateway.reply_to(good)), rows(1, 7))
        for key, message in bad.items():
            reply = await gateway.reply_to(key)
            assert (reply.code, reply.reason) == (3, "INVALID_ARGUMENT")
            assert message in reply.message
        await until(lambda: is_empty(redis))
    assert b"MALFORMED" in (await redis.xrange(KEYS.dead_letters))[0][1][b"reason"]


async def test_an_expired_request_is_refused_and_a_cancelled_one_is_not_run(
    gateway: FakeGateway, tmp_path: Path, redis_url: str
) -> None:
    async with ModelProcess(as_long_as_told_onnx(tmp_path / "m.onnx"), redis_url) as process:
        await gateway.ask(rows(1, 0))
        running = await gateway.send(infer_request(rows(1, 500_000)))
        await asyncio.sleep(0.1)
        expired = await gateway.send(infer_request(rows(1, 1)), timeout_s=0.05)
        cancelled = await gateway.send(infer_request(rows(1, 1)))
        await gateway.cancel(cancelled)

        refused, dropped = await gateway.reply_to(expired), await gateway.reply_to(cancelled)
        await gateway.reply_to(running)
        counts = {"executions": 2, "rows": 2, "errors": 2, "claimed": 0, "dead_letters": 0}
        await process.heard(figures={**counts, "spans_sent": 0, "spans_dropped": 0})
    assert (refused.code, refused.reason) == (14, "DEADLINE_EXCEEDED")
    assert dropped.code == 1


async def test_no_library_reports_to_its_maker(
    gateway: FakeGateway, model: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY", "CI"):  # with the last it keeps silent by itself
        monkeypatch.delenv(name, raising=False)
    async with ModelProcess(model, redis_url):
        np.testing.assert_array_equal(await gateway.ask(rows(1, 3)), rows(1, 3))
    assert list(home.iterdir()) == []  # onnxruntime would keep a number of this machine there


async def test_the_death_of_a_process_loses_nothing(gateway: FakeGateway, tmp_path: Path, redis_url: str) -> None:
    path = as_long_as_told_onnx(tmp_path / "m.onnx")
    async with (
        ModelProcess(path, redis_url, consumer="n.m.1.0@x.1") as victim,
        ModelProcess(path, redis_url, consumer="n.m.1.1@x.2"),
    ):
        keys = {await gateway.send(infer_request(rows(1, 5_000 + n))): n for n in range(100)}
        await until(lambda: len(gateway.replies) > 20)
        victim.child.kill()
        assert await victim.ended() == "died of SIGKILL"
        for key, n in keys.items():
            np.testing.assert_array_equal(output_of(await gateway.reply_to(key)), rows(1, 5_000 + n))


async def test_a_poison_message_is_given_up_after_three_attempts_and_innocents_survive(
    gateway: FakeGateway, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    path, deadly = as_long_as_told_onnx(tmp_path / "m.onnx"), 1e12
    innocents = [await gateway.send(infer_request(rows(1, n))) for n in range(2)]
    poison = await gateway.send(infer_request(rows(1, deadly)))
    innocents += [await gateway.send(infer_request(rows(1, n))) for n in range(2, 4)]

    for life in range(3):
        async with ModelProcess(path, redis_url, consumer=f"n.m.1.0@x.{life}") as process:
            await until(partial(is_stuck, redis, process.spec.consumer, life + 1))
            process.child.kill()
            await process.ended()
            await redis.zrem(KEYS.leases, process.spec.consumer)  # as the agent does
    async with ModelProcess(path, redis_url, consumer="n.m.1.0@x.3"):
        reply = await gateway.reply_to(poison)
        for n, key in enumerate(innocents):
            np.testing.assert_array_equal(output_of(await gateway.reply_to(key)), rows(1, n))
        await until(lambda: is_empty(redis))

    assert (reply.code, reply.reason) == (13, "POISON_MESSAGE")
    assert "3 times" in reply.message
    assert [fields[b"reason"] for _, fields in await redis.xrange(KEYS.dead_letters)] == [b"POISON_MESSAGE"]


async def is_stuck(redis: Redis, consumer: str, times: int) -> bool:
    """True when a consumer has had the poison message, delivered for the n-th time, for a while."""
    pending = await redis.xpending_range(STREAM, GROUP, "-", "+", 10, consumername=consumer, idle=500)
    deadly = (
        (await redis.xrange(STREAM, count=3))[-1][0] if times == 1 else pending[0]["message_id"] if pending else b""
    )
    return any(one["message_id"] == deadly and one["times_delivered"] == times for one in pending)


async def test_a_restart_of_redis_needs_no_restart_of_ours(model: Path, redis_server: RedisServer) -> None:
    redis = connect(redis_server.url)
    async with FakeGateway(redis, KEYS) as gateway, ModelProcess(model, redis_server.url):
        await gateway.ask(rows(1, 1))
        redis_server.kill()
        await asyncio.sleep(0.5)
        redis_server.start()
        np.testing.assert_array_equal(await gateway.ask(rows(1, 2)), rows(1, 2))
        await redis.flushall()
        np.testing.assert_array_equal(await gateway.ask(rows(1, 3)), rows(1, 3))
    await redis.aclose()


async def test_replies_without_a_receipt_are_sent_again_and_acknowledged_only_then(
    gateway: FakeGateway, model: Path, redis_url: str, redis: Redis
) -> None:
    gateway.gives_receipts = False
    async with ModelProcess(model, redis_url):
        key = await gateway.send(infer_request(rows(1, 1)))
        await gateway.reply_to(key)
        assert (await redis.xpending(STREAM, GROUP))["pending"] == 1
        await gateway.stop()
        gateway.gives_receipts = True
        await gateway.start()
        await until(lambda: len(gateway.replies[key]) == 2)
        await until(lambda: is_empty(redis))
    assert [batch.sequence for batch in gateway.batches] == [1, 1]


async def test_requests_of_a_gateway_that_was_replaced_are_dropped(
    gateway: FakeGateway, model: Path, redis_url: str, redis: Redis
) -> None:
    orphan = FakeGateway(redis, KEYS, gateway_id="dead", port=gateway.port)
    lost = await orphan.send(infer_request(rows(1, 1)))
    async with ModelProcess(model, redis_url) as process:
        np.testing.assert_array_equal(await gateway.ask(rows(1, 2)), rows(1, 2))
        await until(lambda: is_empty(redis))
        before = len(gateway.batches)
        await orphan.send(infer_request(rows(1, 1)))
        await until(lambda: is_empty(redis))
        process.child.terminate()
        await process.ended()
    assert len(gateway.batches) == before
    assert process.figures["rows"] <= 2, "the first one may run before it is known that its gateway was replaced"
    assert lost not in orphan.replies


async def test_a_large_request_is_fetched_from_its_gateway(gateway: FakeGateway, model: Path, redis_url: str) -> None:
    content = infer_request(rows(5_000, 3))
    gateway.payloads[1] = content
    async with ModelProcess(model, redis_url, batching=Batching(max_batch_size=8)):
        key = await gateway.send(b"", rows=5_000, payload_bytes=len(content))
        assert key == 1
        settled = await gateway.send(b"", payload_bytes=77)
        np.testing.assert_array_equal(output_of(await gateway.reply_to(key)), rows(5_000, 3))
        np.testing.assert_array_equal(await gateway.ask(rows(1, 4)), rows(1, 4))
    assert settled not in gateway.replies


async def test_more_urgent_requests_go_first(gateway: FakeGateway, tmp_path: Path, redis_url: str) -> None:
    path = as_long_as_told_onnx(tmp_path / "m.onnx")
    batching = Batching(max_batch_size=1, priority_levels=3)
    async with ModelProcess(path, redis_url, batching=batching):
        await gateway.send(infer_request(rows(1, 300_000)), priority=2)
        await asyncio.sleep(0.1)
        keys = {await gateway.send(infer_request(rows(1, 0)), priority=level): level for level in (3, 1, 2, 1, 3)}
        for key in keys:
            await gateway.reply_to(key)
    assert [keys[key] for key in gateway.replies if key in keys] == [1, 1, 2, 3, 3]


async def test_a_model_that_was_quick_and_hangs_keeps_its_lease(
    gateway: FakeGateway, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with ModelProcess(as_long_as_told_onnx(tmp_path / "m.onnx"), redis_url) as process:
        for _ in range(100):
            await gateway.ask(rows(1, 0))
        slow = await gateway.send(infer_request(rows(1, 5_000_000)))
        ends: list[float] = []
        while slow not in gateway.replies:
            ends.append(await redis.zscore(KEYS.leases, process.spec.consumer) or 0.0)
            await asyncio.sleep(0.1)
        assert ends[-1] - ends[0] > LEASE_MS, "it was renewed, again and again"
        output_of(gateway.replies[slow][0])


async def test_draining_finishes_what_was_taken(
    gateway: FakeGateway, tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with ModelProcess(as_long_as_told_onnx(tmp_path / "m.onnx"), redis_url) as process:
        keys = [await gateway.send(infer_request(rows(1, 500_000))) for _ in range(3)]
        await until(lambda: redis.xpending_range(STREAM, GROUP, "-", "+", 10))
        process.child.terminate()
        await process.heard(state="draining")
        left = await gateway.send(infer_request(rows(1, 0)))
        assert await process.ended() == ""
        taken = [key for key in keys if key in gateway.replies]
        assert taken
        assert await redis.xlen(STREAM) == 4 - len(gateway.replies)
        assert (await redis.xpending(STREAM, GROUP))["pending"] == 0
        assert left not in gateway.replies
    assert process.events[-1]["figures"]["rows"] == len(taken)


async def test_spans_that_find_no_receiver_are_counted(gateway: FakeGateway, model: Path, redis_url: str) -> None:
    async with ModelProcess(model, redis_url, otlp_endpoint=f"127.0.0.1:{free_port()}") as process:
        await gateway.ask(rows(1, 0))
        process.child.terminate()
        assert await process.ended() == ""
    assert process.figures["spans_dropped"] == 2  # the batch, and that it stops


async def test_spans_go_where_the_agent_says(gateway: FakeGateway, model: Path, redis_url: str) -> None:
    receiver, port = Receiver(), free_port()
    nowhere = f"127.0.0.1:{free_port()}"
    async with receiver.listening(port), ModelProcess(model, redis_url, otlp_endpoint=nowhere) as process:
        process.child.tell(monitors=[f"127.0.0.1:{port}"])
        await gateway.ask(rows(1, 0))
        await receiver.wait_for("batch m")


async def test_an_orphan_serves_on_until_its_successor_holds_a_lease(
    gateway: FakeGateway, model: Path, redis_url: str
) -> None:
    async with ModelProcess(model, redis_url, consumer="n.m.1.0@old.1") as orphan:
        orphan.abandon()
        await asyncio.sleep(0.5)
        np.testing.assert_array_equal(await gateway.ask(rows(1, 1)), rows(1, 1))
        async with ModelProcess(model, redis_url, consumer="n.m.1.0@new.1"):
            assert await orphan.ended() == ""
            np.testing.assert_array_equal(await gateway.ask(rows(1, 2)), rows(1, 2))


async def test_a_file_that_cannot_be_loaded_is_told_and_ends_the_process(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    process = ModelProcess(path, redis_url)
    with pytest.raises(AssertionError, match="corrupt"):
        await process.start()
