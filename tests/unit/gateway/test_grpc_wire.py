"""The gRPC wire format, and the server that speaks it, on messages that no good client sends."""

from __future__ import annotations

import functools
import gzip
from typing import Any

import grpc
import pytest

from services.common.http2 import encode, frames
from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_call import Call
from services.gateway.fronts.grpc_server import GrpcServer
from tests.support.http2_peer import Peer

LIMIT = 1_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600), ("2M", 120), ("3S", 3), ("40m", 0.04), ("50u", 50e-6), ("99999999n", 0.099999999)],
)
def test_a_timeout_has_a_unit(text: str, seconds: float) -> None:
    assert wire.timeout_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "١S", "1 S"])
def test_what_is_no_timeout_is_refused(text: str) -> None:
    with pytest.raises(wire.StatusError, match="grpc-timeout"):
        wire.timeout_s(text)


def test_metadata_is_told_from_what_the_protocol_needs() -> None:
    head = wire.read_head(
        [
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"grpc-timeout", b"2S"),
            (b"grpc-encoding", b"gzip"),
            (b"grpc-tags-bin", b"AA"),
            (b"key", b"value"),
            (b"raw-bin", b"AAE,/w=="),
        ]
    )

    assert (head.timeout_s, head.encoding) == (2, "gzip")
    assert head.metadata == (("key", "value"), ("raw-bin", b"\0\1"), ("raw-bin", b"\xff"))


def test_a_binary_header_that_is_no_base64_is_refused() -> None:
    with pytest.raises(wire.StatusError, match="raw-bin is no base64"):
        wire.read_head([(b"raw-bin", b"!!")])


@pytest.mark.parametrize(
    ("flag", "payload", "encoding", "code"),
    [
        (2, b"x", "gzip", grpc.StatusCode.INTERNAL),
        (1, b"x", "identity", grpc.StatusCode.INTERNAL),
        (1, b"x", "br", grpc.StatusCode.UNIMPLEMENTED),
        (1, b"no gzip", "gzip", grpc.StatusCode.INTERNAL),
        (1, gzip.compress(b"x" * 100, mtime=0)[:-9], "gzip", grpc.StatusCode.INTERNAL),
        (1, gzip.compress(b"x", mtime=0) + b"more", "gzip", grpc.StatusCode.INTERNAL),
        (1, gzip.compress(bytes(LIMIT + 1), mtime=0), "gzip", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_a_message_that_cannot_be_unpacked_is_refused(
    flag: int, payload: bytes, encoding: str, code: grpc.StatusCode
) -> None:
    with pytest.raises(wire.StatusError) as caught:
        wire.unpack(flag, payload, encoding, LIMIT)

    assert caught.value.code is code


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


async def call(
    *parts: bytes,
    name: bytes = b"Unary",
    is_ended: bool = True,
    content_type: bytes = b"application/grpc",
    method: bytes = b"POST",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[int, dict[bytes, bytes], bytes]:
    """HTTP status, headers and trailers together, and body of a call of an echo."""
    server = GrpcServer(max_request_bytes=LIMIT)

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    async def join(requests: Any, _context: Any) -> bytes:
        return b"".join([request async for request in requests])

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo),
        "Join": grpc.stream_unary_rpc_method_handler(join),
    }
    server.add_registered_method_handlers("test.Echo", handlers)
    peer = Peer(functools.partial(Call, server))
    head = [(b":method", method), (b":scheme", b"http"), (b":path", b"/test.Echo/" + name)]
    head += [(b"content-type", content_type), *headers]
    sent = [frames.headers(1, encode(head), is_last=False, max_frame=2**14)]
    for number, part in enumerate(parts, 1):
        flags = frames.END_STREAM if is_ended and number == len(parts) else 0
        sent.append(frames.frame(frames.DATA, flags, 1, part))
    peer.send(*sent)
    fields: dict[bytes, bytes] = {}
    body = b""
    for answer in await peer.answers():
        if answer.kind == frames.HEADERS:
            fields |= peer.fields(answer)
        elif answer.kind == frames.DATA:
            body += answer.payload
    return int(fields[b":status"]), fields, body


@pytest.mark.parametrize("cuts", [[], [0], [1], [3, 4], [5], [7]])
async def test_a_message_may_come_in_any_pieces(cuts: list[int]) -> None:
    body = framed(b"a message")
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    status, fields, answer = await call(*pieces)

    assert (status, fields[b"grpc-status"], answer) == (200, b"0", body)


@pytest.mark.parametrize(
    ("part", "is_ended", "code"),
    [
        (b"", True, grpc.StatusCode.INTERNAL),
        (b"\0\0", True, grpc.StatusCode.INTERNAL),
        (b"\0\0\0\0\5four", True, grpc.StatusCode.INTERNAL),
        (framed(b"one") * 2, True, grpc.StatusCode.INTERNAL),
        (b"\1\0\0\0\4four", True, grpc.StatusCode.INTERNAL),
        (b"\0\xff\xff\xff\xff", False, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"\0\0\0\0\5" + bytes(LIMIT + 1), False, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_body_that_is_not_one_message_is_refused(part: bytes, is_ended: bool, code: grpc.StatusCode) -> None:
    status, fields, answer = await call(part, is_ended=is_ended)

    assert (status, int(fields[b"grpc-status"]), answer) == (200, code.value[0], b"")
    assert fields[b"grpc-message"]


@pytest.mark.parametrize(
    ("content_type", "method", "expected"),
    [
        (b"application/json", b"POST", 415),
        (b"application/grpc-web", b"POST", 415),
        (b"application/grpcx", b"POST", 415),
        (b"", b"GET", 405),
        (b"application/grpc+proto", b"POST", 200),
        (b"application/grpc;charset=x", b"POST", 200),
    ],
)
async def test_only_grpc_is_taken(content_type: bytes, method: bytes, expected: int) -> None:
    status, _, _ = await call(framed(b""), content_type=content_type, method=method)

    assert status == expected


async def test_a_bad_header_ends_the_call_only() -> None:
    _, fields, _ = await call(framed(b""), headers=((b"grpc-timeout", b"soon"),))

    assert int(fields[b"grpc-status"]) == grpc.StatusCode.INTERNAL.value[0]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([b"\0\xff\xff\xff\xff"], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ([framed(b"one") + b"\0\0"], grpc.StatusCode.INTERNAL),
        ([framed(b"one"), b"\1\0\0\0\1x"], grpc.StatusCode.INTERNAL),
        ([framed(b"one"), framed(b"two")], grpc.StatusCode.OK),
    ],
)
async def test_a_stream_that_goes_wrong_at_once_gets_its_status(parts: list[bytes], code: grpc.StatusCode) -> None:
    _, fields, answer = await call(*parts, name=b"Join")

    assert int(fields[b"grpc-status"]) == code.value[0]
    assert answer == (framed(b"onetwo") if code is grpc.StatusCode.OK else b"")


async def test_a_handler_without_a_task_may_fail() -> None:
    server = GrpcServer(max_request_bytes=LIMIT)

    def crash(_message: bytes, _call: Call) -> None:
        raise LookupError("a bug")

    async def never(_request: bytes, _context: Any) -> bytes:
        raise AssertionError

    server.add_registered_method_handlers("test.Echo", {"Unary": grpc.unary_unary_rpc_method_handler(never)})
    server.add_direct_handler("/test.Echo/Unary", crash)
    peer = Peer(functools.partial(Call, server))
    head = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/test.Echo/Unary")]
    block = encode([*head, (b"content-type", b"application/grpc")])
    peer.send(frames.headers(1, block, is_last=False, max_frame=2**14), frames.frame(0, 1, 1, framed(b"")))

    fields = peer.fields((await peer.answers())[-1])
    assert int(fields[b"grpc-status"]) == grpc.StatusCode.UNKNOWN.value[0]
    assert not peer.connection.is_closing
