"""What every front must do, asked with the standard client: one suite for all of them."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from services.common.serving import CHANNEL_OPTIONS
from tests.integration.gateway.conftest import FRONTS
from tests.support.certificates import Certificates, Pair
from tests.support.echo_front import LIMIT, SERVICE
from tests.support.ports import free_port
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Echo:
    """A client of a front that runs in a process of its own."""

    channel: grpc.Channel
    process: subprocess.Popen[bytes]
    grpc_port: int
    http_port: int
    stderr: Any

    def unary(self, name: str) -> Callable[..., Any]:
        return self.channel.unary_unary(f"/{SERVICE}/{name}")

    def left(self) -> int:
        return int(self.unary("Left")(b""))

    def http(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)


def _started(kind: str, *tls: Path, credentials: grpc.ChannelCredentials | None = None) -> Echo:
    grpc_port, http_port = free_port(), free_port()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the rest
    command = [sys.executable, "-m", "tests.support.echo_front", kind, str(grpc_port), str(http_port)]
    process = subprocess.Popen([*command, *map(str, tls)], stderr=stderr)
    address = f"127.0.0.1:{grpc_port}"
    channel = (
        grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)
        if credentials
        else grpc.insecure_channel(address, CHANNEL_OPTIONS)
    )
    echo = Echo(channel, process, grpc_port, http_port, stderr)
    grpc.channel_ready_future(channel).result(20)
    return echo


def _ended(echo: Echo) -> tuple[int, str]:
    """Close it; its exit status and what it said."""
    echo.channel.close()
    if echo.process.poll() is None:
        echo.process.terminate()
    try:
        status = echo.process.wait(10)
    except subprocess.TimeoutExpired:
        echo.process.kill()
        echo.process.wait()
        raise
    echo.stderr.seek(0)
    with echo.stderr:
        return status, echo.stderr.read().decode()


@pytest.fixture(scope="module", params=FRONTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def echo(kind: str) -> Iterator[Echo]:
    echo = _started(kind)
    yield echo
    status, said = _ended(echo)
    assert status == 0, said
    assert said.count("Traceback") <= 1, said  # of the bug that a test asks for


@pytest.fixture
def own(kind: str) -> Iterator[Echo]:
    """A front of one's own."""
    echo = _started(kind)
    yield echo
    _ended(echo)


@pytest.mark.parametrize("size", [0, 1, 100, 65_536, 1024**2, 20 * 1024**2])
def test_a_message_of_any_size_comes_back(echo: Echo, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    answer, call = echo.unary("Unary").with_call(message, timeout=30)

    assert answer == message
    assert call.code() is grpc.StatusCode.OK
    assert dict(call.trailing_metadata()) == {"size": str(size), "size-bin": size.to_bytes(8, "big")}


def test_a_message_above_the_limit_is_refused(echo: Echo) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Unary")(bytes(LIMIT + 1), timeout=30)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in caught.value.details()
    assert echo.unary("Unary")(bytes(LIMIT)) == bytes(LIMIT)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_message_is_read(echo: Echo, compression: grpc.Compression) -> None:
    message = b"squeeze me " * 100_000

    assert echo.unary("Unary")(message, compression=compression) == message


def test_a_message_that_is_too_large_after_decompression_is_refused(echo: Echo) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Unary")(bytes(LIMIT + 1), compression=grpc.Compression.Gzip)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metadata_goes_both_ways(echo: Echo) -> None:
    sent = (("key", "a value"), ("raw-bin", bytes(range(256))), ("traceparent", "00-" + "a" * 32))

    answer, call = echo.unary("Metadata").with_call(b"", metadata=sent, timeout=5)

    seen = {key: value for key, value in eval(answer) if key != "user-agent"}
    assert seen == dict(sent)
    assert dict(call.initial_metadata())["early"] == "bird"


def test_a_servicer_knows_the_deadline_and_the_peer(echo: Echo) -> None:
    assert 5 < float(echo.unary("Remaining")(b"", timeout=7)) < 7.1  # clients round up
    assert echo.unary("Remaining")(b"") == b"None"
    assert echo.unary("Peer")(b"").startswith(b"ipv4:127.0.0.1:")


@pytest.mark.parametrize("details", ["plain", "100 % — größer\nthan", "", "日本語"])
def test_an_error_comes_with_its_text_and_its_trailers(echo: Echo, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Abort")(details.encode())

    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, details)
    assert dict(error.trailing_metadata())["why"] == "because"


def test_an_error_carries_rich_details(echo: Echo) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Rich")("nichts für ungut".encode())

    status, info = rpc_status.from_call(caught.value), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.message, info.reason) == ("nichts für ungut", "TESTED")


def test_a_bug_in_a_servicer_is_an_unknown_error(echo: Echo) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Crash")(b"")

    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == "Unexpected <class 'LookupError'>: a bug"


@pytest.mark.parametrize("how", [b"return", b"abort"])
def test_metadata_that_can_not_be_sent_ends_the_call(echo: Echo, how: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Unsendable")(how, timeout=10)

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "Invalid metadata")


@pytest.mark.parametrize("path", [f"/{SERVICE}/Unheard", "/no.Service/Unary", "/x"])
def test_an_unknown_method_is_unimplemented(echo: Echo, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.channel.unary_unary(path)(b"")

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def test_streams_go_all_ways(echo: Echo) -> None:
    pieces = [b"a" * size for size in (0, 1, 70_000, 3, 2_000_000)]

    assert list(echo.channel.unary_stream(f"/{SERVICE}/Split")(b"abc")) == [b"a", b"b", b"c"]
    assert list(echo.channel.unary_stream(f"/{SERVICE}/Split")(b"")) == []
    assert echo.channel.stream_unary(f"/{SERVICE}/Join")(iter(pieces)) == b"".join(pieces)
    assert list(echo.channel.stream_stream(f"/{SERVICE}/Both")(iter(pieces))) == pieces
    assert list(echo.channel.stream_stream(f"/{SERVICE}/Both")(iter([]))) == []


def test_a_stream_answers_while_it_is_being_asked(echo: Echo) -> None:
    more, answered = threading.Event(), []

    def ask() -> Iterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            assert more.wait(5)
            more.clear()

    for answer in echo.channel.stream_stream(f"/{SERVICE}/Both")(ask()):
        answered.append(answer)
        more.set()

    assert answered == [b"0", b"1", b"2"]


def test_a_stream_may_end_in_an_error(echo: Echo) -> None:
    call = echo.channel.unary_stream(f"/{SERVICE}/AbortLate")(b"first")

    assert next(call) == b"first"
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (call.code(), call.details()) == (grpc.StatusCode.DATA_LOSS, "half way")


def test_a_stream_waits_for_a_slow_reader_and_ends_when_it_leaves(echo: Echo) -> None:
    before = echo.left()
    call = echo.channel.unary_stream(f"/{SERVICE}/Endless")(bytes(100_000))

    assert [len(piece) for piece in itertools.islice(call, 50)] == [100_000] * 50
    time.sleep(0.3)
    call.cancel()

    eventually(lambda: echo.left() == before + 1)


def test_a_stream_with_a_message_above_the_limit_is_refused(echo: Echo) -> None:
    call = echo.channel.stream_unary(f"/{SERVICE}/Join")

    with pytest.raises(grpc.RpcError) as caught:
        call(iter([b"small", bytes(LIMIT + 1)]), timeout=30)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deadline_ends_a_call_on_both_sides(echo: Echo) -> None:
    before, start = echo.left(), time.monotonic()

    with pytest.raises(grpc.RpcError) as caught:
        echo.unary("Wait")(b"", timeout=0.3)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 2
    eventually(lambda: echo.left() == before + 1)


def test_a_cancelled_call_ends_at_the_servicer(echo: Echo) -> None:
    before = echo.left()
    calls = [echo.unary("Wait").future(b"") for _ in range(5)]
    time.sleep(0.2)

    for call in calls:
        call.cancel()

    eventually(lambda: echo.left() == before + 5)


def test_many_calls_share_a_connection(echo: Echo) -> None:
    calls = [echo.unary("Unary").future(b"%d" % number) for number in range(500)]

    assert [call.result(10) for call in calls] == [b"%d" % number for number in range(500)]


def test_health_and_reflection_answer(echo: Echo) -> None:
    health = health_pb2_grpc.HealthStub(echo.channel)
    watched = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))

    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert SERVICE in ProtoReflectionDescriptorDatabase(echo.channel).get_services()


def test_rest_is_served_by_the_same_process(echo: Echo) -> None:
    connection = echo.http()
    body = bytes(range(256)) * 40_000

    for method, sent in (("POST", body), ("POST", b""), ("GET", None)):
        connection.request(method, "/echo", sent)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, sent or b"")
    connection.request("GET", "/nowhere")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_rest_caller_that_leaves_is_noticed(echo: Echo) -> None:
    before = echo.left()
    connection = echo.http()
    connection.request("POST", "/wait", b"body")
    time.sleep(0.2)
    assert echo.left() == before

    connection.close()

    eventually(lambda: echo.left() == before + 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_under_way_are_finished_before_the_end(own: Echo, number: signal.Signals) -> None:
    more = threading.Event()

    def ask() -> Iterator[bytes]:
        yield b"one"
        assert more.wait(5)
        yield b"two"

    call = own.channel.stream_unary(f"/{SERVICE}/Join").future(ask())
    time.sleep(0.3)
    own.process.send_signal(number)
    time.sleep(0.3)
    more.set()

    assert call.result(5) == b"onetwo"
    assert own.process.wait(5) == 0


def test_a_call_that_does_not_end_is_cut_off_by_the_drain(own: Echo) -> None:
    call = own.unary("Wait").future(b"")
    time.sleep(0.3)
    start = time.monotonic()
    own.process.terminate()

    assert call.exception(10).code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    assert own.process.wait(5) == 0
    assert time.monotonic() - start < 5


def test_thousands_of_calls_that_come_at_once_are_all_answered(own: Echo) -> None:
    own.process.send_signal(signal.SIGSTOP)
    calls = [own.unary("Unary").future(b"%d" % number, timeout=40) for number in range(4_000)]
    own.process.send_signal(signal.SIGCONT)

    assert [call.result() for call in calls] == [b"%d" % number for number in range(4_000)]


def test_garbage_harms_nobody(echo: Echo) -> None:
    for garbage in (b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", echo.grpc_port), 5) as raw:
            raw.sendall(garbage)

    assert echo.unary("Unary")(b"still there") == b"still there"


@pytest.fixture(scope="module")
def guarded(kind: str, certificates: Certificates) -> Iterator[Echo]:
    """A front with TLS that serves only clients with a certificate."""
    server, client, authority = certificates.server, certificates.client, certificates.authority
    credentials = grpc.ssl_channel_credentials(
        authority.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
    )
    echo = _started(kind, server.certificate, server.key, authority, credentials=credentials)
    yield echo
    status, said = _ended(echo)
    assert status == 0, said
    assert "Traceback" not in said, said


def _echoed_by_https(echo: Echo, body: bytes, *, authority: Path, shown: Pair | None = None) -> bytes:
    context = ssl.create_default_context(cafile=authority)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    connection = http.client.HTTPSConnection("127.0.0.1", echo.http_port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("POST", "/echo", body)
        return connection.getresponse().read()


def test_tls_guards_both_apis(kind: str, certificates: Certificates) -> None:
    server, authority = certificates.server, certificates.authority
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    echo = _started(kind, server.certificate, server.key, credentials=credentials)
    try:
        message = bytes(range(256)) * 20_000
        assert echo.unary("Unary")(message, timeout=10) == message
        assert list(echo.channel.unary_stream(f"/{SERVICE}/Split")(b"abc")) == [b"a", b"b", b"c"]
        assert echo.unary("Identity")(b"") == b"nobody"
        assert _echoed_by_https(echo, message, authority=authority) == message
    finally:
        status, said = _ended(echo)
    assert (status, said) == (0, "")


def test_a_client_shows_its_certificate_where_it_must(guarded: Echo, certificates: Certificates) -> None:
    assert guarded.unary("Identity")(b"", timeout=10) == b"client.test"
    answer = _echoed_by_https(guarded, b"hello", authority=certificates.authority, shown=certificates.client)
    assert answer == b"hello"


def test_a_client_without_a_certificate_is_refused(guarded: Echo, certificates: Certificates) -> None:
    authority = certificates.authority
    anonymous = grpc.ssl_channel_credentials(authority.read_bytes())
    with (
        grpc.secure_channel(f"127.0.0.1:{guarded.grpc_port}", anonymous) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises((ssl.SSLError, ConnectionError)):  # which one depends on who is first: the alert, or the end
        _echoed_by_https(guarded, b"hello", authority=authority)
    assert guarded.unary("Unary")(b"still there", timeout=10) == b"still there"


def test_a_client_without_tls_is_refused(guarded: Echo) -> None:
    with (
        grpc.insecure_channel(f"127.0.0.1:{guarded.grpc_port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=10)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert guarded.unary("Unary")(b"still there", timeout=10) == b"still there"


def test_a_client_s_keepalive_is_answered(echo: Echo) -> None:
    options = [("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 5_000)]
    with grpc.insecure_channel(f"127.0.0.1:{echo.grpc_port}", options) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Wait").future(b"")
        with pytest.raises(grpc.FutureTimeoutError):
            call.result(1)
        call.cancel()
