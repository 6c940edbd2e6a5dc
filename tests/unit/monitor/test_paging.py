from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgumentError
from services.monitor import paging


@given(st.text(min_size=1))
def test_a_token_gives_its_cursor_back(cursor: str) -> None:
    assert paging.cursor_of(paging.token(cursor, "traces", "digits"), "traces", "digits") == cursor


def test_a_token_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="same list"):
        paging.cursor_of(paging.token("7", "traces", "digits"), "traces", "other")


def test_a_token_with_another_cursor_is_refused() -> None:
    """A cursor reaches SQL and ``int``, which would end the call with an internal error."""
    raw = base64.urlsafe_b64decode(paging.token("17", "traces"))

    with pytest.raises(InvalidArgumentError, match="same list"):
        paging.cursor_of(base64.urlsafe_b64encode(raw[:-1] + b"x").decode(), "traces")


@given(st.text(min_size=1))
def test_an_invented_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        paging.cursor_of(text, "traces")


def test_the_first_page_has_no_cursor() -> None:
    assert paging.cursor_of("", "traces") == ""


@pytest.mark.parametrize(("asked", "meant"), [(0, paging.DEFAULT_SIZE), (1, 1), (1_000, 1_000)])
def test_a_page_size_of_zero_is_the_default(asked: int, meant: int) -> None:
    assert paging.size_of(asked) == meant


@pytest.mark.parametrize("asked", [-1, 1_001])
def test_other_page_sizes_are_refused(asked: int) -> None:
    with pytest.raises(InvalidArgumentError, match="expected 0 to 1000"):
        paging.size_of(asked)


def test_a_list_comes_page_by_page_in_the_order_of_its_keys() -> None:
    items = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "")]
    pages, request = [], SimpleNamespace(page_size=3, page_token="")
    while True:
        page, request.page_token = paging.page(items, tuple, request, "figures", "")
        pages.append(page)
        if not request.page_token:
            break

    assert pages == [items[:3], items[3:]]
    assert paging.page(items, tuple, SimpleNamespace(page_size=4, page_token=""), "figures", "") == (items, "")


def test_what_came_meanwhile_moves_no_page() -> None:
    request = SimpleNamespace(page_size=1, page_token="")
    _, request.page_token = paging.page([("a",), ("c",)], tuple, request, "probes")

    assert paging.page([("a",), ("b",), ("c",)], tuple, request, "probes")[0] == [("b",)]
    with pytest.raises(InvalidArgumentError):
        paging.page([("a",)], tuple, request, "figures")
