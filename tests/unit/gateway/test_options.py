from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from services.common.errors import InvalidArgumentError
from services.gateway.domain.options import Options, read_options
from tests.unit.gateway.requests import served


def parameters(**values: pb.InferParameter) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(parameters=values).parameters


def test_no_parameters_ask_for_nothing() -> None:
    assert read_options({}) == Options(timeout_us=None, priority=0)


def test_priority_comes_as_either_kind_of_integer() -> None:
    assert read_options(parameters(priority=pb.InferParameter(uint64_param=2))).priority == 2
    assert read_options(parameters(priority=pb.InferParameter(int64_param=2))).priority == 2


def test_timeout_is_microseconds_and_zero_means_none() -> None:
    assert read_options(parameters(timeout=pb.InferParameter(int64_param=1500))).timeout_us == 1500
    assert read_options(parameters(timeout=pb.InferParameter(int64_param=0))).timeout_us is None


@pytest.mark.parametrize(
    "value",
    [
        pb.InferParameter(int64_param=-1),
        pb.InferParameter(string_param="1"),
        pb.InferParameter(double_param=1.0),
        pb.InferParameter(),
    ],
)
@pytest.mark.parametrize("name", ["timeout", "priority"])
def test_what_is_no_whole_number(name: str, value: pb.InferParameter) -> None:
    with pytest.raises(InvalidArgumentError, match=f"parameter '{name}' is .* expected a whole number of at least 0"):
        read_options(parameters(**{name: value}))


def test_priorities_beyond_the_last_take_the_default() -> None:
    version = served(priority_levels=3, default_priority=2)
    assert [version.priority_of(asked) for asked in (0, 1, 3, 4)] == [2, 1, 3, 2]
    assert served().priority_of(1) == 0
