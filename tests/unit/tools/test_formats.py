"""The tests of heavy formats can't be lost: none is left out, and none may be skipped where it is to run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tools import formats
from tools.setup import ROOT

pytest_plugins = ["pytester"]


def test_each_module_is_run_somewhere_and_each_extra_is_one() -> None:
    listed = [name for one in formats.ENVIRONMENTS.values() for name in one.tests]
    assert all((formats.TESTS / name).is_file() for name in listed)
    heavy = sorted(name for name in listed if name.startswith("formats/"))
    assert heavy == sorted(f"formats/{path.name}" for path in formats.TESTS.glob("formats/test_*.py"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for one in formats.ENVIRONMENTS.values() for name in one.extras} <= extras.keys()


def test_what_failed_or_was_skipped_is_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_good(): pass
        def test_bad(): assert 1 == 2
        def test_skipped(): pytest.skip("no library")
        """
    )
    report = Path(pytester.path, "report.xml")
    pytester.runpytest_inprocess(f"--junitxml={report}", "-o", "asyncio_default_fixture_loop_scope=function")
    passed, reasons = formats.outcome(report)
    assert passed == 1
    assert [one.split(":")[:2] for one in reasons] == [["test_bad", " failure"], ["test_skipped", " skipped"]]


def test_no_report_is_no_success(tmp_path: Path) -> None:
    passed, reasons = formats.outcome(tmp_path / "report.xml")
    assert not formats.Result("x", passed, 0, reasons).is_good


def test_an_unknown_environment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert formats.main(["caffe"]) == 2
    assert "got caffe, expected some of" in capsys.readouterr().err
