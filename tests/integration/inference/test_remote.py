"""What callers are told when the server that runs a model elsewhere refuses, is slow, dies, and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from services.common.errors import DeadlineExceededError, InternalError, InvalidArgumentError, UnavailableError
from services.inference import backends
from services.inference.backends import Model, ModelFiles, Placement
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Outcome, execute
from tests.support.fake_gateway import infer_request
from tests.support.model_server import ModelServer
from tests.support.suite import wait_until

CODE = grpc.StatusCode


@pytest.fixture
def server() -> Iterator[ModelServer]:
    running = ModelServer()
    yield running
    running.kill()


@pytest.fixture
def model(server: ModelServer, tmp_path: Path) -> Model:
    (tmp_path / "m.toml").write_text(f'address = "127.0.0.1:{server.port}"\nmodel = "m"\ntimeout_s = 1')
    return backends.load(ModelFiles(tmp_path / "m.toml"), "remote", Placement("cpu", 1))


def run(model: Model, *numbers: float) -> list[Outcome]:
    """Each number is a caller of its own."""
    decoder = Decoder(model="m", signature=model.signature)
    batch = [decoder.decode(infer_request(np.array([[one]], np.float32))) for one in numbers]
    return execute(model, Encoder(model="m", version="1", signature=model.signature), batch, is_batchable=True).outcomes


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (CODE.UNAVAILABLE, UnavailableError),
        (CODE.RESOURCE_EXHAUSTED, UnavailableError),
        (CODE.NOT_FOUND, UnavailableError),
        (CODE.UNAUTHENTICATED, UnavailableError),
        (CODE.DEADLINE_EXCEEDED, DeadlineExceededError),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_what_is_nobodys_fault_is_said_to_all_of_a_batch_and_not_repeated(
    code: grpc.StatusCode, expected: type[Exception], server: ModelServer, model: Model
) -> None:
    server.servicer.refuse = lambda _first: code
    outcomes = run(model, 1, 2, 3)
    assert [type(one.error) for one in outcomes] == [expected] * 3
    assert outcomes[0].error.message == f"the model's server: {code.name}: so it is"
    assert outcomes[0].error.reason == "REMOTE_SERVER"
    assert server.servicer.batches == [3]


@pytest.mark.parametrize(
    ("code", "expected"), [(CODE.INVALID_ARGUMENT, InvalidArgumentError), (CODE.INTERNAL, InternalError)]
)
def test_what_one_caller_sent_fails_that_caller_alone(
    code: grpc.StatusCode, expected: type[Exception], server: ModelServer, model: Model
) -> None:
    server.servicer.refuse = lambda number: code if number == 2 else None
    outcomes = run(model, 1, 2, 3)
    assert [type(one.error) for one in outcomes] == [type(None), expected, type(None)]
    assert server.servicer.batches == [3, 1, 1, 1]


def test_a_server_that_doesnt_answer_in_time_is_asked_once(server: ModelServer, model: Model) -> None:
    server.servicer.is_stuck.set()
    assert [type(one.error) for one in run(model, 1, 2)] == [DeadlineExceededError] * 2
    assert server.servicer.batches == [2]


def test_a_server_that_died_is_unavailable_until_it_is_back(server: ModelServer, model: Model) -> None:
    server.servicer.is_stuck.set()
    found: list[Outcome] = []
    caller = threading.Thread(target=lambda: found.extend(run(model, 1, 2)))
    caller.start()
    wait_until(lambda: server.servicer.batches)
    server.kill()
    caller.join()
    found += run(model, 3)
    assert [type(one.error) for one in found] == [UnavailableError] * 3
    assert not [one for one in found if str(server.port) in str(one.error)]

    server.servicer.is_stuck.clear()
    server.start()
    wait_until(lambda: run(model, 4)[0].error is None, within=10)
