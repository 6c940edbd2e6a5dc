"""What every service is told by the environment: read once, frozen, passed down."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock.endpoints import NOT_FOR_SERVICES
from services.common.discovery import addresses
from services.common.discovery.settings import ConsulSettings

PREFIX = "PENSTOCK_"
SECTIONS = ("GATEWAY", "INFERENCE", "REGISTRY", "MONITOR")
_SECTION_PREFIXES = tuple(f"{PREFIX}{name}__" for name in SECTIONS)


def _named(folder: object) -> object:
    if folder == "":
        raise ValueError("is empty, expected a folder")
    return folder


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError:
        raise ValueError(f"is {folder}, where ~ stands for no folder: name another") from None


def _some_addresses(text: str) -> str:
    if not addresses.listed(text):
        raise ValueError("is empty, expected host:port")
    return text


def _addresses(text: str) -> str:
    addresses.listed(text)
    return text


def _host(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[^\s/,:\[\]]+|\[?[0-9a-fA-F:.%]+\]?", text):
        raise ValueError(f"got {text!r}, expected a host name or an address, without a port")
    return text


class SuiteSettings(BaseSettings):
    """Settings that all services share (``PENSTOCK_…``)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True)

    home: Annotated[Path, BeforeValidator(_named), AfterValidator(_expanded)] = Field(
        default=Path("~/.penstock"), validate_default=True
    )
    """Folder for everything that Penstock keeps on this machine: database, artifacts, caches, sockets, logs."""
    bind: str = "127.0.0.1"
    """Address that servers listen on. Loopback unless told otherwise."""
    advertise_host: Annotated[str | None, AfterValidator(_host)] = None
    """Host name or address by which others reach what listens here. Unset: that of `PENSTOCK_BIND`, or where this is
    `0.0.0.0` or `[::]`, the address from which this machine's packets leave it."""
    redis_url: str | None = None
    """Redis for the lanes, `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`
    (docs/architecture.md). Unset: the embedded one, on a socket below `home`."""
    registry_address: Annotated[str, AfterValidator(_some_addresses)] = "127.0.0.1:8021"
    """`host:port` of the registry's gRPC API; of several registries, with commas between. Whoever finds one silent asks
    the next."""
    monitor_address: Annotated[str, AfterValidator(_some_addresses)] = "127.0.0.1:8031"
    """`host:port` of the monitor's gRPC API, which decides on rollouts. Of several monitors, with commas between, the
    first in alphabetical order that answers is asked, which should be the one that gets the spans."""
    otlp_endpoint: Annotated[str, AfterValidator(_addresses)] = "127.0.0.1:4317"
    """`host:port` where spans are sent by OTLP/gRPC (the monitor). Of several, with commas between, all send to the
    first in alphabetical order that answers. Empty switches tracing off."""
    trace_sample_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of requests whose own spans are exported, up to `PENSTOCK_GATEWAY__MAX_TRACES_PER_SECOND`; errors, and
    requests that arrive sampled, always are."""
    shared_payload_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    """Most memory, in bytes, that one gateway or model process takes below `/dev/shm` to pass large messages on without
    a connection, of which it never takes more than half of what is free. 0: all go over connections."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log record to write."""
    log_format: Literal["ecs", "text"] = "ecs"
    """How log records are written to standard error: a JSON object each, in the Elastic Common Schema, or text for
    people. Services that `penstock up` starts always write the first, which it reads."""
    consul: ConsulSettings = ConsulSettings.model_construct()

    @property
    def reachable_host(self) -> str:
        """The host by which others reach this process, without brackets."""
        return addresses.reachable_host(self.advertise_host or self.bind)

    @property
    def effective_redis_url(self) -> str:
        """The Redis to connect to: the one given, or the embedded one's socket."""
        return self.redis_url or f"unix://{self.home}/redis.sock"


Section = TypeVar("Section", bound=BaseSettings)


def load(section: type[Section], environ: Mapping[str, str] | None = None) -> tuple[SuiteSettings, Section]:
    """Read the suite's and one service's settings; refuse variables with our prefix that nobody knows.

    Variables of another service's section are that service's to check.

    Raises:
        ValueError: a variable is misspelt or its value is unfit; the message names it.
    """
    own = str(section.model_config["env_prefix"])
    others = tuple(prefix for prefix in _SECTION_PREFIXES if prefix != own)
    _refuse_unknown(environ, {*names_of(SuiteSettings), *names_of(section)}, others)
    return _read_suite(), _read(section)


def load_suite(environ: Mapping[str, str] | None = None) -> SuiteSettings:
    """Read the suite's settings alone, as :func:`load` does; the services' sections are theirs to check."""
    _refuse_unknown(environ, set(names_of(SuiteSettings)), _SECTION_PREFIXES)
    return _read_suite()


def _refuse_unknown(environ: Mapping[str, str] | None, known: set[str], others: tuple[str, ...]) -> None:
    unknown = sorted(
        name
        for name in (os.environ if environ is None else environ)
        if name.startswith(PREFIX) and name not in known | NOT_FOR_SERVICES and not name.startswith(others)
    )
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}: expected names are listed in docs/configuration.md")


def _read_suite() -> SuiteSettings:
    return _read(SuiteSettings, consul=_read(ConsulSettings))


def _read(section: type[Section], **given: Any) -> Section:
    try:
        return section(**given)
    except ValidationError as error:
        prefix = str(section.model_config["env_prefix"])
        raise ValueError("; ".join(_explain(prefix, one) for one in error.errors())) from None


def _explain(prefix: str, error: ErrorDetails) -> str:
    """One line; the value itself may be a secret and stays out."""
    message = error["msg"].removeprefix("Value error, ")
    return f"{prefix}{str(error['loc'][0]).upper()}: {message}" if error["loc"] else message


def fields_of(section: type[BaseSettings]) -> Mapping[str, FieldInfo]:
    """What a settings class reads, by environment variable; other classes within it read for themselves."""
    prefix = str(section.model_config["env_prefix"])
    return {
        f"{prefix}{name.upper()}": field
        for name, field in section.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings))
    }


def names_of(section: type[BaseSettings]) -> Iterable[str]:
    """The environment variables that a settings class reads."""
    return fields_of(section)
