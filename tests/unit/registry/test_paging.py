"""Page tokens."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgumentError
from services.registry.domain.paging import Page, parse

KEY_TYPES = (str, int)


@given(model=st.from_regex(r"[a-zA-Z0-9._-]{1,64}", fullmatch=True), number=st.integers(1, 10**9 - 1))
def test_a_token_leads_back_to_its_key(model: str, number: int) -> None:
    token = Page("versions", 50, None).next_token((model, number))

    assert parse("versions", key_types=KEY_TYPES, size=3, token=token) == Page("versions", 3, (model, number))


@given(st.text())
def test_any_other_text_is_an_invalid_argument(text: str) -> None:
    if text:
        with pytest.raises(InvalidArgumentError, match="next_page_token"):
            parse("versions", key_types=KEY_TYPES, size=0, token=text)


@pytest.mark.parametrize(
    "content",
    [
        [],
        ["versions"],
        ["versions", "a"],
        ["versions", "a", "1"],
        ["versions", 1, "a"],
        ["versions", "a", True],
        ["versions", "a", 10**12],
        ["versions", "a\0", 1],
        ["versions", "", 1],
        ["versions", "a", 1, 1],
        ["aliases", "a", 1],
        {"versions": 1},
        None,
    ],
)
def test_a_forged_token_is_refused(content: object) -> None:
    token = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()

    with pytest.raises(InvalidArgumentError):
        parse("versions", key_types=KEY_TYPES, size=0, token=token)


def test_a_token_nested_too_deeply_is_refused() -> None:
    token = base64.urlsafe_b64encode(b"[" * 200_000).decode()

    with pytest.raises(InvalidArgumentError):
        parse("versions", key_types=KEY_TYPES, size=0, token=token)


@pytest.mark.parametrize(("asked", "got"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_sizes_are_kept_within_limits(asked: int, got: int) -> None:
    assert parse("versions", key_types=KEY_TYPES, size=asked, token="").size == got
