"""How services connect to Redis: the forms of its URL, and a client for one server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import SplitResult, parse_qs, parse_qsl, quote, urlencode, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_FORMS = (
    "expected redis://[user:password@]host[:port][/database], rediss:// for TLS, unix:///path, "
    "redis+sentinel://[user:password@]host[:port],…/service[/database] or redis+cluster://[user:password@]host[:port],…"
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where Redis is, and how it is run.

    ``entrances`` are URLs of single servers, as redis-py takes them: the only one, nodes of the cluster, or sentinels,
    whose name for the master is ``service``. ``form`` is the URL of any other server, with "{}" for host and port.
    """

    topology: Literal["standalone", "sentinel", "cluster"]
    entrances: tuple[str, ...] = field(repr=False)
    form: str = field(default="", repr=False)
    service: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read any of the forms.

        Raises:
            ValueError: it is none of them. The message doesn't repeat the URL, which may hold a password.
        """
        try:
            made = cls._parse(url)
            for one in (*made.entrances, made.form.replace("{}", "localhost:1") or url):
                parse_url(one)
        except ValueError as error:
            why = f": {error}" if str(error).startswith("Invalid value for ") else ""
            raise ValueError(f"the URL of Redis can't be read{why}; {_FORMS}") from None
        return made

    @classmethod
    def _parse(cls, url: str) -> Self:
        parts = urlsplit(url)
        _, _, topology = parts.scheme.partition("+")
        path = parts.path.strip("/").split("/")
        if topology == "cluster" and path == [""]:
            form = _form(parts, *_user_of(parts))
            return cls("cluster", _at(form, parts, port=6379), form)
        if topology == "sentinel" and path[0] and len(path) <= 2 and f"0{''.join(path[1:])}".isdecimal():
            form = _form(parts, *_user_of(parts), database="".join(path[1:2]))
            asked = parse_qs(parts.query)
            user = (quote(asked.get(f"sentinel_{one}", [""])[0], safe="") for one in ("username", "password"))
            return cls("sentinel", _at(_form(parts, *user), parts, port=26379), form, path[0])
        return cls("standalone", (url,))

    def server(self, host: str, port: int) -> str:
        """The URL of a server that a sentinel or a node of the cluster told of."""
        return self.form.replace("{}", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _user_of(parts: SplitResult) -> tuple[str, str]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return user, password


def _form(parts: SplitResult, user: str, password: str, *, database: str = "") -> str:
    options = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("sentinel_")]
    at = f"{user}:{password}@" if user or password else ""
    return f"{parts.scheme.partition('+')[0]}://{at}{{}}/{database}?{urlencode(options)}"


def _at(form: str, parts: SplitResult, *, port: int) -> tuple[str, ...]:
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if not all(hosts):
        raise ValueError("a host is missing")
    return tuple(form.replace("{}", one if one.rpartition(":")[2].isdecimal() else f"{one}:{port}") for one in hosts)


def connect(url: str, *, max_connections: int = 16, protocol: int | None = None) -> Redis:
    """A client for one server, ``redis://``, ``rediss://`` or ``unix://``; answers are bytes.

    Commands are not retried here, and wait for their answers without a limit: whoever sends one knows whether it may be
    sent twice, and how long it may block.
    """
    return Redis.from_url(
        url,
        max_connections=max_connections,
        socket_connect_timeout=1.0,
        # With redis-py's own, 5 s, blocking reads of 5 s fail now and then; and it writes through asyncio.wait_for,
        # which on Python 3.11 loses a cancellation that arrives as the write completes.
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        protocol=protocol,
    )
