"""The store of comparisons on each database that it is made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.monitor.adapters.comparison_store import ComparisonStore, Record
from tests.support.monitor_database import comparison_store, url_of
from tests.support.postgresql import PostgresqlUnavailableError, running_postgresql

RECORD = Record("trial", "digits", 2**62, False, "f" * 64, '{"a": 1}', '{"b": 2}', b"\x00\xffreport")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ComparisonStore]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = url_of(tmp_path)
        else:
            try:
                server = stack.enter_context(running_postgresql())
            except PostgresqlUnavailableError as error:
                pytest.skip(str(error))
            url = stack.enter_context(server.database())
        yield stack.enter_context(comparison_store(url))


def test_comparisons_are_kept_and_changed(store: ComparisonStore) -> None:
    other = replace(RECORD, comparison_id="other", begin_ns=2**62 - 5)
    store.save(RECORD)
    store.save(other)
    assert store.get("trial") == RECORD
    assert store.get("nobody") is None
    assert store.under_way() == [other, RECORD]

    final = replace(RECORD, is_final=True, state="", report=b"end")
    store.save(final)
    assert store.get("trial") == final
    assert store.under_way() == [other]


def test_reports_come_newest_first_page_by_page(store: ComparisonStore) -> None:
    for number in range(5):
        model = "digits" if number % 2 else "other"
        store.save(
            replace(RECORD, comparison_id=f"c{number}", model=model, begin_ns=number // 2, report=b"%d" % number)
        )

    first = store.reports(model="", before=None, limit=3)
    assert first == [(2, "c4", b"4"), (1, "c3", b"3"), (1, "c2", b"2")]
    assert store.reports(model="", before=first[-1][:2], limit=3) == [(0, "c1", b"1"), (0, "c0", b"0")]
    assert [one for _, one, _ in store.reports(model="digits", before=None, limit=9)] == ["c3", "c1"]


def test_the_oldest_that_are_final_are_deleted(store: ComparisonStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.monitor.adapters.comparison_store.KEPT_COMPARISONS", 3)
    for number in range(8):
        store.save(replace(RECORD, comparison_id=f"c{number}", begin_ns=number, is_final=number != 1))

    assert [one for _, one, _ in store.reports(model="", before=None, limit=9)] == ["c7", "c6", "c5", "c1"]
