from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import names
from services.common.errors import InvalidArgumentError

LETTER = "abcXYZ"
IDS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?", fullmatch=True)


@given(IDS)
def test_an_id_passes_unchanged(text: str) -> None:
    assert names.model_id(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "-a", "a-", "a/b", "a b", "ä", "a\n", "{a}", "a:b", "a*", "x" * 65, "../x", "a\0"]
)
def test_a_text_that_is_no_id_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected 1 to 64 letters"):
        names.model_id(text)


@pytest.mark.parametrize("text", ["production", "a", "A.b-c_9", "x" * 64])
def test_an_alias_passes_unchanged(text: str) -> None:
    assert names.alias_id(text) == text


@pytest.mark.parametrize("text", ["1", "1st", "", "-x", "x-"])
def test_an_alias_is_never_taken_for_a_version(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="with a letter first and a letter or digit last"):
        names.alias_id(text)


@given(IDS, IDS)
def test_names_split_into_what_they_were_made_of(model: str, other: str) -> None:
    assert names.split(names.model_name(model), "models/*") == (model,)
    assert names.split(names.version_name(model, other), "models/*/versions/*") == (model, other)
    assert names.split(names.alias_name(model, other), "models/*/aliases/*") == (model, other)
    assert names.split(names.deployment_name(model), "deployments/*") == (model,)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "models",
        "models/",
        "models/a/versions",
        "models/a/versions/",
        "models//versions/1",
        "/models/a/versions/1",
        "models/a/versions/1/",
        "models/a/aliases/1",
        "deployments/a",
        "models/a/versions/1/2",
    ],
)
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="got resource name"):
        names.split(name, "models/*/versions/*")
