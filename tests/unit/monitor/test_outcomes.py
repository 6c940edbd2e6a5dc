from __future__ import annotations

import grpc
import pytest

from services.monitor.domain.outcomes import CODES, OUTCOME_OF_CODE, Outcome, outcome_of

CLIENT_ERRORS = {
    "CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "FAILED_PRECONDITION",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "UNAUTHENTICATED",
}  # fmt: skip


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_grpc_code_has_its_outcome(code: grpc.StatusCode) -> None:
    expected = (
        Outcome.OK
        if code is grpc.StatusCode.OK
        else Outcome.CLIENT_ERROR
        if code.name in CLIENT_ERRORS
        else Outcome.SERVER_ERROR
    )

    assert CODES[code.value[0]] == code.name
    assert OUTCOME_OF_CODE[code.value[0]] == expected
    assert outcome_of(rpc_status=code.name, error_type="", http_status=0) is expected


def test_a_number_without_a_name_is_the_servers_fault() -> None:
    assert OUTCOME_OF_CODE[200] == Outcome.SERVER_ERROR


@pytest.mark.parametrize(
    ("error_type", "http_status", "expected"),
    [
        ("", 200, Outcome.OK),
        ("", 404, Outcome.CLIENT_ERROR),
        ("", 503, Outcome.SERVER_ERROR),
        ("RESOURCE_EXHAUSTED", 400, Outcome.SERVER_ERROR),
        ("INVALID_ARGUMENT", 400, Outcome.CLIENT_ERROR),
        ("QUEUE_FULL", 503, Outcome.SERVER_ERROR),
        ("QUEUE_FULL", 0, Outcome.SERVER_ERROR),
        ("", 0, Outcome.OK),
    ],
)
def test_over_rest_the_reason_decides_where_it_is_a_code(error_type: str, http_status: int, expected: Outcome) -> None:
    assert outcome_of(rpc_status="", error_type=error_type, http_status=http_status) is expected
