"""Names taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgumentError
from services.registry.domain import ids


def test_names_are_taken_apart() -> None:
    assert ids.parse_model("models/a.b") == "a.b"
    assert ids.parse_version("models/a/versions/12") == ("a", 12)
    assert ids.parse_alias("models/a/aliases/best") == ("a", "best")
    assert ids.parse_deployment("deployments/a") == "a"
    assert ids.check_node("nodes/a") == "nodes/a"
    assert ids.parse_parent("models/a") == "a"
    assert ids.parse_parent("models/-") is None


@given(st.text())
def test_any_other_text_is_an_invalid_argument(text: str) -> None:
    for parse in (
        ids.parse_model,
        ids.parse_version,
        ids.parse_alias,
        ids.parse_deployment,
        ids.check_node,
        ids.check_sha256,
    ):
        with pytest.raises(InvalidArgumentError):
            parse(text)


@given(st.integers(min_value=1, max_value=999_999_999))
def test_every_version_number_survives(number: int) -> None:
    assert ids.parse_version(f"models/m/versions/{number}") == ("m", number)


@pytest.mark.parametrize("version", ["0", "-1", "01", "1.0", "1e3", "1000000000", "١", "best", " 1"])
def test_what_is_no_version_number_is_refused(version: str) -> None:
    with pytest.raises(InvalidArgumentError, match="whole number"):
        ids.parse_version(f"models/m/versions/{version}")


def test_request_ids_are_uuids_in_one_form() -> None:
    assert ids.check_request_id("") == ""
    canonical = "0b7a7a3e-6c1f-4a9b-8a55-0a9d6f1c2e3f"
    assert ids.check_request_id(canonical.upper()) == canonical
    with pytest.raises(InvalidArgumentError, match="UUID"):
        ids.check_request_id("x" * 36)
