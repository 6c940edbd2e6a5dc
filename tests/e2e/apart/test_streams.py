"""Models that answer with streams, through the whole suite and tritonclient."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from penstock import errors
from penstock.client import Client
from tests.support import models
from tests.support.streams import Stream, ended, folder, how
from tests.support.suite import Suite, wait_until

ROWS = np.arange(32, dtype=np.float32).reshape(2, 16)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """With a model of one process, one of two, and one that is not decoupled."""
    files = tmp_path_factory.mktemp("models")
    counter = str(folder(files / "counter"))
    with Suite() as running:
        running.command("deploy", counter, "--name", "counter", "--trust", "--wait")
        running.command("deploy", counter, "--name", "pair", "--replicas", "2", "--trust", "--wait")
        running.command("deploy", str(models.identity_onnx(files / "identity.onnx")), "--name", "identity", "--wait")
        yield running


@pytest.fixture
def stream(suite: Suite) -> Iterator[Stream]:
    with Stream(suite.grpc_address, "counter") as opened:
        yield opened


def rows() -> list[triton.InferInput]:
    tensor = triton.InferInput("INPUT0", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS)
    return [tensor]


def last_ended(suite: Suite) -> tuple[int, float]:
    return ended(suite.grpc_address, "counter")[-1]


def test_responses_arrive_as_they_are_made(stream: Stream) -> None:
    stream.ask("a", how(100, pause_ms=5))
    heard = list(stream.until_end())
    assert [one.number for one in heard] == list(range(100))
    assert {(one.id, one.is_final) for one in heard} == {("a", False)}
    assert heard[0].at < heard[-1].made_at


def test_the_end_is_told_to_who_asks_for_it(stream: Stream) -> None:
    stream.ask("without", how(2), with_end=False)
    stream.ask("none", how(0))
    heard = [stream.next() for _ in range(3)]
    assert [(one.id, one.is_final, one.is_empty) for one in heard] == [
        ("without", False, False),
        ("without", False, False),
        ("none", True, True),
    ]


def test_requests_of_one_stream_are_answered_side_by_side(suite: Suite) -> None:
    with Stream(suite.grpc_address, "pair") as stream:
        for name in ("a", "b"):
            stream.ask(name, how(20, pause_ms=50))
        heard = [stream.next() for _ in range(42)]
    for name in ("a", "b"):
        assert [one.number for one in heard if one.id == name and not one.is_empty] == list(range(20))
    first_end = next(at for at, one in enumerate(heard) if one.is_final)
    assert {one.id for one in heard[:first_end]} == {"a", "b"}


def test_models_that_are_not_decoupled_answer_in_order(suite: Suite, stream: Stream) -> None:
    for number in range(20):
        stream.ask(str(number), rows(), model="identity")
    heard = [stream.next() for _ in range(20)]
    assert [(one.id, one.is_final) for one in heard] == [(str(number), True) for number in range(20)]
    np.testing.assert_array_equal(heard[-1].result.as_numpy("OUTPUT0"), ROWS)


def test_one_response_apis_refuse_and_say_what_to_use(suite: Suite) -> None:
    with triton.InferenceServerClient(suite.grpc_address) as client:
        assert client.get_model_config("counter").config.model_transaction_policy.decoupled
        assert not client.get_model_config("identity").config.model_transaction_policy.decoupled
        with pytest.raises(InferenceServerException, match=r"decoupled transaction policy.*ModelStreamInfer") as caught:
            client.infer("counter", how(1))
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    body = {"inputs": [{"name": "how", "datatype": "INT64", "shape": [4], "data": [1, 0, 0, 0]}]}
    answer = httpx.post(f"http://{suite.http_address}/v2/models/counter/infer", json=body)
    assert answer.status_code == 501
    assert "ModelStreamInfer" in answer.json()["error"]


def test_a_stream_counts_as_one_request(suite: Suite, stream: Stream) -> None:
    def figures() -> tuple[int, int, int]:
        (found,) = stream.client.get_inference_statistics("counter").model_stats
        return found.inference_stats.success.count, found.inference_count, found.execution_count

    before = figures()
    stream.ask("a", how(10))
    assert len(list(stream.until_end())) == 10
    wait_until(lambda: figures() == tuple(one + 1 for one in before))


def test_a_caller_that_leaves_ends_the_generator(suite: Suite) -> None:
    with Stream(suite.grpc_address, "counter") as stream:
        stream.ask("a", how(1_000, pause_ms=20))
        stream.next()
    assert 0 < last_ended(suite)[0] < 1_000


def test_a_deadline_ends_the_generator(suite: Suite) -> None:
    with Stream(suite.grpc_address, "counter") as stream:
        stream.ask("a", how(1_000, pause_ms=20), timeout=500_000)
        *_, last = stream.until_end()
        assert "Request timeout expired" in str(last.error)
        assert 0 < last_ended(suite)[0] < 1_000
        stream.ask("b", how(1))  # the stream goes on
        assert stream.next().number == 0
    with Stream(suite.grpc_address, "counter", stream_timeout=0.5) as stream:
        stream.ask("a", how(1_000, pause_ms=20))
        *_, last = stream.until_end()
        assert last.error.status() == "StatusCode.DEADLINE_EXCEEDED"
        assert 0 < last_ended(suite)[0] < 1_000


def test_an_exception_ends_its_request_and_nothing_else(suite: Suite, stream: Stream) -> None:
    pids = suite.model_pids("counter")
    stream.ask("a", how(10, bad=4))
    *responses, failed = stream.until_end()
    assert [one.number for one in responses] == [0, 1, 2, 3]
    assert str(failed.error) == "got to 4, expected less"
    stream.ask("b", how(3))
    assert [one.number for one in stream.until_end()] == [0, 1, 2]
    assert suite.model_pids("counter") == pids


def test_bad_requests_are_answered_beside_good_ones(stream: Stream) -> None:
    stream.ask("a", how(2))
    stream.ask("b", rows())
    heard = [stream.next() for _ in range(4)]
    (failed,) = [one for one in heard if one.error is not None]
    assert "got unexpected input 'INPUT0', model 'counter' expects 'how' INT64 [4]" in str(failed.error)


def test_who_asks_for_statuses_gets_them(suite: Suite) -> None:
    with Stream(suite.grpc_address, "counter", headers={"triton_grpc_error": "true"}) as stream:
        stream.ask("a", how(10, bad=2))
        heard = list(stream.until_end())
    assert [one.number for one in heard[:-1]] == [0, 1]
    assert heard[-1].error.status() == "StatusCode.INVALID_ARGUMENT"
    assert heard[-1].error.message() == "got to 2, expected less"


def test_the_client_and_the_command_show_responses_as_they_come(suite: Suite, tmp_path: Path) -> None:
    asked = {"how": np.array([5, 200, -1, 0])}
    with Client(gateway=suite.grpc_address) as client:
        answers = client.infer_stream("counter", asked)
        first = next(answers)
        got_at = time.monotonic()
        rest = list(answers)
        assert [int(one["number"][0]) for one in (first, *rest)] == list(range(5))
        assert got_at < rest[-1]["at"][0]
        with contextlib.closing(client.infer_stream("counter", {"how": np.array([1_000, 20, -1, 0])})) as left:
            next(left)
        assert last_ended(suite)[0] < 1_000
        with pytest.raises(errors.InvalidArgumentError, match="got to 1, expected less"):
            list(client.infer_stream("counter", {"how": np.array([5, 0, 1, 0])}))
        (alone,) = client.infer_stream("identity", {"INPUT0": ROWS})
        np.testing.assert_array_equal(alone["OUTPUT0"], ROWS)
    (tmp_path / "how.json").write_text("[3, 0, -1, 0]")
    command = [sys.executable, "-m", "penstock", "infer", "counter", "--input", str(tmp_path / "how.json"), "--stream"]
    environ = {**suite.environ, "PENSTOCK_GATEWAY_ADDRESS": suite.grpc_address}
    lines = subprocess.run([*command, "--json"], env=environ, check=True, capture_output=True, text=True).stdout
    assert [json.loads(line)["outputs"]["number"]["data"] for line in lines.splitlines()] == [[0], [1], [2]]
    shown = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
    assert "response 3, after" in shown
    assert "3 responses in" in shown


def test_responses_are_events_over_rest(suite: Suite) -> None:
    url = f"http://{suite.http_address}/v2/models/counter/generate_stream"
    with httpx.stream("POST", url, json={"how": [5, 200, -1, 2], "id": "a"}) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        events = [(json.loads(line.removeprefix("data: ")), time.monotonic()) for line in answer.iter_lines() if line]
    assert [(event["number"], event["filling"], event["id"]) for event, _ in events] == [
        (number, [0, 0], "a") for number in range(5)
    ]
    assert events[0][1] < events[-1][0]["at"]
    failing = httpx.post(url, json={"how": [5, 0, 1, 0]}).text.split("\n\n")
    assert [json.loads(one.removeprefix("data: ")).get("error") for one in failing[:-1]] == [
        None,
        "got to 1, expected less",
    ]
    assert httpx.post(url, json={"how": [5, 0, 0, 0]}).status_code == 400
    refused = httpx.post(url, json={"nothing": 1})
    assert (refused.status_code, "missing input 'how'" in refused.json()["error"]) == (400, True)
    refused = httpx.post(url, content=b"[]")
    assert (refused.status_code, "no object" in refused.json()["error"]) == (400, True)
    with httpx.stream("POST", url, json={"how": [1_000, 20, -1, 0]}) as answer:
        next(answer.iter_lines())
    assert 0 < last_ended(suite)[0] < 1_000


def test_a_slow_reader_holds_its_generator_back_and_nobody_else(suite: Suite) -> None:
    count, size = 400, 256 * 1024
    requests = iter([_request("counter", how(count, size=size))])
    with triton.InferenceServerClient(suite.grpc_address) as client:
        call = client._client_stub.ModelStreamInfer(requests)
        first = next(call)
        assert not first.error_message
        time.sleep(1)
        with Stream(suite.grpc_address, "pair") as other:
            other.ask("b", how(3))
            assert [one.number for one in other.until_end()] == [0, 1, 2]
        resumed_at = time.monotonic()
        made_at = [triton.InferResult(one.infer_response).as_numpy("at")[0] for one in (first, *call)]
    assert len(made_at) == count
    ahead = sum(at < resumed_at for at in made_at)
    assert ahead < 100, "so many were made before anybody read them"


def _request(model: str, inputs: list[triton.InferInput]) -> triton.service_pb2.ModelInferRequest:
    request = triton.service_pb2.ModelInferRequest(model_name=model)
    for one in inputs:
        request.inputs.append(one._get_tensor())
        request.raw_input_contents.append(one._get_content())
    return request


def test_a_process_that_dies_before_the_first_response_costs_nothing(suite: Suite, stream: Stream) -> None:
    stream.ask("a", how(5, pause_ms=1_000, bad=-2))
    time.sleep(0.5)
    (pid,) = suite.model_pids("counter")
    os.kill(pid, signal.SIGKILL)
    assert [one.number for one in stream.until_end()] == list(range(5))


def test_a_process_that_dies_in_the_middle_ends_its_streams(suite: Suite, stream: Stream) -> None:
    wait_until(lambda: suite.model_pids("counter"))
    stream.ask("a", how(1_000, pause_ms=20))
    for number in range(10):
        assert stream.next().number == number
    (pid,) = suite.model_pids("counter")
    os.kill(pid, signal.SIGKILL)
    *responses, failed = stream.until_end()
    count = 10 + len(responses)
    assert [one.number for one in responses] == list(range(10, count))
    assert f"the model process ended after {count} responses" in str(failed.error)
    stream.ask("b", how(3))  # of the first request nothing comes any more
    assert [(one.id, one.number) for one in stream.until_end()] == [("b", 0), ("b", 1), ("b", 2)]


def test_the_loss_of_redis_costs_a_stream_nothing(suite: Suite, stream: Stream) -> None:
    stream.ask("a", how(100, pause_ms=50))
    stream.next()
    os.kill(suite.pid_of("redis"), signal.SIGKILL)
    assert [one.number for one in stream.until_end()] == list(range(1, 100))


def test_a_gateway_that_dies_frees_the_model(suite: Suite) -> None:
    with Stream(suite.grpc_address, "counter") as stream:
        stream.ask("a", how(1_000, pause_ms=50))
        stream.next()
        os.kill(suite.pid_of("gateway"), signal.SIGKILL)
        *_, failed = stream.until_end()
        assert failed.error.status() == "StatusCode.UNAVAILABLE"
    wait_until(lambda: suite.command("status", check=False).get("is_ready"), within=60)
    assert last_ended(suite)[0] < 1_000


def test_an_agent_that_is_replaced_finishes_its_streams(suite: Suite, stream: Stream) -> None:
    stream.ask("a", how(100, pause_ms=50))
    stream.next()
    suite.restart("--rolling", "inference")
    assert [one.number for one in stream.until_end()] == list(range(1, 100))


def test_a_gateway_that_is_replaced_finishes_its_streams(suite: Suite) -> None:
    with Stream(suite.grpc_address, "counter") as stream, Stream(suite.grpc_address, "pair") as idle:
        stream.ask("a", how(100, pause_ms=50))
        stream.next()
        idle.ask("b", how(0))
        assert idle.next().is_final
        suite.restart("--rolling", "gateway")
        assert [one.number for one in stream.until_end()] == list(range(1, 100))
        for one in (stream, idle):
            assert "the gateway is shutting down" in str(one.next().error)
