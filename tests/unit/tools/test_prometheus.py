"""Programs for the tests are fetched by package, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import debian, prometheus


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that are asked for, on a machine that has none of the programs and reaches nobody."""
    packages: list[str] = []

    def unpack(package: str, *, release: str, into: Path) -> None:
        packages.append(package)
        if package == "prometheus-alertmanager":
            raise debian.FetchError("nobody answers")
        (into / "usr" / "bin").mkdir(parents=True)
        for name in ("prometheus", "promtool"):
            (into / "usr" / "bin" / name).touch()

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(debian, "unpack", unpack)
    return packages


def test_a_package_is_asked_for_once_whatever_it_has(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    prometheus.main()

    assert asked == ["prometheus", "prometheus-alertmanager"]
    found, missing = capsys.readouterr()
    assert [Path(line).name for line in found.splitlines()] == ["prometheus", "promtool"]
    assert missing.splitlines() == [
        "no alertmanager and amtool for the tests that need one, they will be skipped: nobody answers"
    ]


def test_what_is_there_is_not_asked_for_again(asked: list[str]) -> None:
    prometheus.main()
    prometheus.main()

    assert asked.count("prometheus") == 1
