"""docs/configuration.md is what the settings classes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.settings import SECTIONS, names_of
from tools import render_configuration as page


def test_the_page_is_rendered_from_the_settings() -> None:
    assert page.PAGE.read_text() == page.render(), "run `python -m tools.render_configuration`"


def test_every_service_has_its_section_and_every_variable_one_row() -> None:
    found = dict(page.sections())
    rows = re.findall(r"^\| `(\w+)` \|", page.render(), re.MULTILINE)

    assert list(found) == ["All services", "Consul", *(section.capitalize() for section in SECTIONS)]
    assert rows == [name for settings in found.values() for name in names_of(settings)]


@pytest.mark.parametrize("settings", [settings for _, settings in page.sections()], ids=lambda one: one.__name__)
def test_settings_are_frozen(settings: type[BaseSettings]) -> None:
    assert settings.model_config.get("frozen")


def test_a_row_says_type_bounds_default_and_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    class ToySettings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="TOY_", use_attribute_docstrings=True)

        rows: int = Field(default=4, ge=1, le=9)
        """Most rows."""
        folder: Path | None = None
        """Where things
        are, a | b."""
        home: Path = Path.home() / "x"
        """Home."""
        is_on: bool = False
        """Whether it is on."""

    monkeypatch.setattr(page, "sections", lambda: [("Toy", ToySettings)])

    assert page.render().endswith(
        "## Toy\n\n| variable | type | default | meaning |\n|---|---|---|---|\n"
        "| `TOY_ROWS` | whole number, ≥ 1, ≤ 9 | `4` | Most rows. |\n"
        "| `TOY_FOLDER` | path | unset | Where things are, a \\| b. |\n"
        "| `TOY_HOME` | path | `~/x` | Home. |\n"
        "| `TOY_IS_ON` | true or false | `false` | Whether it is on. |\n"
    )


def test_a_setting_without_documentation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class BareSettings(BaseSettings):
        rows: int = 4

    monkeypatch.setattr(page, "sections", lambda: [("Bare", BareSettings)])

    with pytest.raises(SystemExit, match=r"ROWS in BareSettings has no documentation"):
        page.render()
