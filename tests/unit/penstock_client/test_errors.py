from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from penstock import errors


def _all_below(kind: type[errors.PenstockError]) -> set[type[errors.PenstockError]]:
    return {kind}.union(*(_all_below(child) for child in kind.__subclasses__()))


def test_every_status_but_ok_has_an_error() -> None:
    assert errors.BY_CODE.keys() == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_every_api_error_stands_for_a_status() -> None:
    assert set(errors.BY_CODE.values()) == _all_below(errors.ApiError) - {errors.ApiError}


def test_tree_at_the_top_of_the_module_is_complete() -> None:
    drawn = errors.__doc__ or ""
    assert [kind.__name__ for kind in _all_below(errors.PenstockError) if kind.__name__ not in drawn] == []


@pytest.mark.parametrize("code", errors.BY_CODE)
def test_status_keeps_its_code_message_and_reason(code: grpc.StatusCode) -> None:
    info = error_details_pb2.ErrorInfo(reason="WHY", metadata={"key": "value"})
    error = errors.from_status(code, "words", part="registry", address="here", info=info)
    assert type(error) is errors.BY_CODE[code]
    assert isinstance(error, errors.ApiError)
    assert (str(error), error.code, error.reason, error.metadata) == ("words", code, "WHY", {"key": "value"})


def test_unavailable_of_the_connection_is_told_from_that_of_the_service() -> None:
    code = grpc.StatusCode.UNAVAILABLE
    for words in (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9",
        "errors resolving foo: [field:hostname lookup error:address lookup failed for foo: Domain name not found]",
    ):
        lost = errors.from_status(code, words, part="registry", address="127.0.0.1:9")
        assert isinstance(lost, errors.ConnectionFailedError)
        assert "127.0.0.1:9" in str(lost)
    full = errors.from_status(code, "Exceeds maximum queue size", part="gateway", address="127.0.0.1:9")
    assert type(full) is errors.UnavailableError
