"""Resource names: ``models/{model}/versions/{version}`` and their parts."""

from __future__ import annotations

import re

from services.common.errors import InvalidArgumentError

_ID = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?")
_ALIAS = re.compile(r"[a-zA-Z]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?")


def model_id(text: str) -> str:
    """Check the id of a model or node."""
    return _checked(text, _ID, "1 to 64 letters, digits, '.', '_' or '-', with a letter or digit at both ends")


def alias_id(text: str) -> str:
    """Check the id of an alias, which can't be taken for a version."""
    return _checked(
        text, _ALIAS, "1 to 64 letters, digits, '.', '_' or '-', with a letter first and a letter or digit last"
    )


def _checked(text: str, pattern: re.Pattern[str], expected: str) -> str:
    if pattern.fullmatch(text) is None:
        raise InvalidArgumentError(f"got id {text!r}, expected {expected}")
    return text


def model_name(model: str) -> str:
    return f"models/{model}"


def version_name(model: str, version: str) -> str:
    return f"models/{model}/versions/{version}"


def alias_name(model: str, alias: str) -> str:
    return f"models/{model}/aliases/{alias}"


def deployment_name(model: str) -> str:
    return f"deployments/{model}"


def rollout_name(model: str, rollout: str) -> str:
    return f"deployments/{model}/rollouts/{rollout}"


def signing_key_name(key_set: str, key: str) -> str:
    return f"keySets/{key_set}/keys/{key}"


def split(name: str, pattern: str) -> tuple[str, ...]:
    """The ids in a resource name, by a pattern such as ``"models/*/versions/*"``.

    Raises:
        InvalidArgumentError: the name has another form.
    """
    parts, wanted = name.split("/"), pattern.split("/")
    if len(parts) != len(wanted) or any(want not in ("*", part) for part, want in zip(parts, wanted, strict=True)):
        raise InvalidArgumentError(f"got resource name {name!r}, expected the form {pattern!r}")
    ids = tuple(part for part, want in zip(parts, wanted, strict=True) if want == "*")
    if not all(ids):
        raise InvalidArgumentError(f"got resource name {name!r}, expected no empty part")
    return ids
