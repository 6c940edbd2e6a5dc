from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.settings import SuiteSettings, load, load_suite, names_of


class GatewayLikeSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_GATEWAY__", frozen=True, extra="ignore")

    http_port: int = Field(default=8000, ge=1, le=65535)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)


def test_defaults_need_no_environment() -> None:
    suite, section = load(GatewayLikeSettings)

    assert suite.bind == "127.0.0.1"
    assert section.http_port == 8000


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", "/srv/penstock")
    monkeypatch.setenv("PENSTOCK_GATEWAY__HTTP_PORT", "9000")

    suite, section = load(GatewayLikeSettings)

    assert suite.home == Path("/srv/penstock")
    assert suite.effective_redis_url == "unix:///srv/penstock/redis.sock"
    assert section.http_port == 9000


def test_a_redis_of_ones_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS_URL", "redis://redis:6379/1")

    assert load(GatewayLikeSettings)[0].effective_redis_url == "redis://redis:6379/1"


@pytest.mark.parametrize(
    "name", ["PENSTOCK_GATEWAY__HTTPPORT", "PENSTOCK_HOMES", "PENSTOCK_GATEWAY_HTTP_PORT", "PENSTOCK_"]
)
def test_a_misspelt_variable_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(ValueError, match=f"unknown settings {name}:"):
        load(GatewayLikeSettings)


def test_all_misspelt_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_B", "1")
    monkeypatch.setenv("PENSTOCK_A", "1")

    with pytest.raises(ValueError, match="unknown settings PENSTOCK_A, PENSTOCK_B:"):
        load(GatewayLikeSettings)


@pytest.mark.parametrize("name", ["PENSTOCK_MONITOR__WHATEVER", "PENSTOCK_REGISTRY__PORT", "OTHER_GATEWAY__X", "PATH"])
def test_other_sections_and_other_programs_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")

    load(GatewayLikeSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_GATEWAY__HTTP_PORT", "0"),
        ("PENSTOCK_GATEWAY__HTTP_PORT", "eighty"),
        ("PENSTOCK_TRACE_SAMPLE_RATIO", "1.5"),
        ("PENSTOCK_LOG_LEVEL", "LOUD"),
        ("PENSTOCK_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("PENSTOCK_OTLP_ENDPOINT", "jaeger"),
    ],
)
def test_an_unfit_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match=name):
        load(GatewayLikeSettings)


def test_settings_can_not_be_changed() -> None:
    suite, _ = load(GatewayLikeSettings)

    with pytest.raises(ValidationError, match="frozen"):
        suite.bind = "0.0.0.0"


def test_names_are_those_of_the_environment() -> None:
    assert list(names_of(GatewayLikeSettings)) == ["PENSTOCK_GATEWAY__HTTP_PORT"]
    assert "PENSTOCK_REGISTRY_ADDRESS" in names_of(SuiteSettings)


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/me")
    assert load_suite().home == Path("/srv/me/.penstock")
    monkeypatch.setenv("PENSTOCK_HOME", "~/elsewhere")
    assert load_suite().home == Path("/srv/me/elsewhere")


@pytest.mark.parametrize(
    ("home", "why"), [("", "is empty, expected a folder"), ("~nobody-of-that-name", "name another")]
)
def test_a_home_that_is_no_folder_is_refused(home: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", home)
    with pytest.raises(ValueError, match=f"^PENSTOCK_HOME: .*{why}$"):
        load_suite()


def test_the_suite_alone_leaves_sections_alone_and_refuses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY__WHATEVER", "1")
    load_suite()
    monkeypatch.setenv("PENSTOCK_HOMES", "1")
    with pytest.raises(ValueError, match="unknown settings PENSTOCK_HOMES:"):
        load_suite()
