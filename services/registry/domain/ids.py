"""Resource names taken apart and checked; what is wrong with one is an InvalidArgumentError."""

from __future__ import annotations

import re
import uuid

from services.common import names
from services.common.errors import InvalidArgumentError

ANY_MODEL = "models/-"
ANY_DEPLOYMENT = "deployments/-"

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_FORMAT = re.compile(r"[a-z0-9_]{0,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_model(name: str) -> str:
    """The id in ``models/{model}``."""
    (model,) = names.split(name, "models/*")
    return names.model_id(model)


def parse_parent(parent: str) -> str | None:
    """The id in ``models/{model}``; None for ``models/-``, which stands for all models."""
    return None if parent == ANY_MODEL else parse_model(parent)


def parse_version(name: str) -> tuple[str, int]:
    """Model and number in ``models/{model}/versions/{version}``."""
    model, version = names.split(name, "models/*/versions/*")
    if _VERSION.fullmatch(version) is None:
        raise InvalidArgumentError(f"got version {version!r} in {name!r}, expected a whole number from 1 upwards")
    return names.model_id(model), int(version)


def parse_alias(name: str) -> tuple[str, str]:
    """Model and alias in ``models/{model}/aliases/{alias}``."""
    model, alias = names.split(name, "models/*/aliases/*")
    return names.model_id(model), names.alias_id(alias)


def parse_key_set(parent: str) -> str | None:
    """The id in ``keySets/{key_set}``; None for ``keySets/-``, which stands for all sets."""
    (key_set,) = names.split(parent, "keySets/*")
    return None if key_set == "-" else names.model_id(key_set)


def parse_signing_key(name: str) -> tuple[str, str]:
    """The ids in ``keySets/{key_set}/keys/{key}``."""
    key_set, key = names.split(name, "keySets/*/keys/*")
    return names.model_id(key_set), names.model_id(key)


def parse_deployment(name: str) -> str:
    """The id in ``deployments/{deployment}``, which is the model's."""
    (model,) = names.split(name, "deployments/*")
    return names.model_id(model)


def parse_rollout(name: str) -> tuple[str, int]:
    """Model and number in ``deployments/{deployment}/rollouts/{rollout}``."""
    model, rollout = names.split(name, "deployments/*/rollouts/*")
    if _VERSION.fullmatch(rollout) is None:
        raise InvalidArgumentError(f"got rollout {rollout!r} in {name!r}, expected a whole number from 1 upwards")
    return names.model_id(model), int(rollout)


def parse_rollout_parent(parent: str) -> str | None:
    """The id in ``deployments/{deployment}``; None for ``deployments/-``, which stands for all of them."""
    return None if parent == ANY_DEPLOYMENT else parse_deployment(parent)


def check_node(name: str) -> str:
    """A node's whole name, ``nodes/{node}``."""
    (node,) = names.split(name, "nodes/*")
    names.model_id(node)
    return name


def check_format(name: str) -> str:
    """The name of a format, empty where it isn't known."""
    if _FORMAT.fullmatch(name) is None:
        raise InvalidArgumentError(f"got format {name[:80]!r}, expected at most 64 characters of a-z, 0-9 and _")
    return name


def check_sha256(digest: str) -> str:
    """A digest, as it is written in names of files too."""
    if _SHA256.fullmatch(digest) is None:
        raise InvalidArgumentError(f"got sha256 {digest[:80]!r}, expected 64 lower-case hexadecimal digits")
    return digest


def check_request_id(request_id: str) -> str:
    """A UUID in its canonical form, or nothing."""
    if not request_id:
        return ""
    try:
        return str(uuid.UUID(request_id))
    except ValueError:
        raise InvalidArgumentError(f"got request_id {request_id[:80]!r}, expected a UUID") from None
