"""Consul's HTTP API as far as it is used here, by py-consul. Importing this takes 7 MB: who has no Consul leaves it."""

from __future__ import annotations

import asyncio
import http.client
import io
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import consul
from consul import base

from penstock import __version__
from penstock.endpoints import joined
from services.common.discovery.registration import CheckKind, Registration
from services.common.discovery.settings import ConsulSettings
from services.common.errors import UnavailableError

_WAIT_S = 10
"""Longest that Consul holds a question for changes back."""
_ANSWER_WITHIN_S = 5.0
_CHECK_EVERY, _CHECK_WITHIN = "1s", "3s"
_FORGET_AFTER = "1m"
"""Consul's shortest time after which a service that fails its checks is removed."""
_OWNER = "process"

Answer = TypeVar("Answer")


class ConsulAgent:
    """The Consul that ``settings`` name. Its methods raise UnavailableError when it doesn't do what it is asked."""

    def __init__(self, settings: ConsulSettings, tls: ssl.SSLContext | None) -> None:
        self._consul = _Consul(_Transport(settings, tls))
        self._consul.token = settings.token()

    async def healthy(self, service: str, *, port: str = "", after: int = 0) -> tuple[int, list[str]]:
        """The addresses of instances that pass their checks, and the state of Consul that they are from.

        ``port`` names another port than the registered one. With ``after``, a state seen before, the answer is held
        back until there is another, for seconds at most.
        """
        since = {"index": str(after), "wait": f"{_WAIT_S}s"} if after else {}

        def read(answer: tuple[str, list[Mapping[str, Any]]]) -> tuple[int, list[str]]:
            index = int(answer[0])
            found = [_address(one, port) for one in answer[1]]
            # An index that goes backwards is of another life of Consul: ask for its present state.
            return (index if index >= after else 0), [address for address in found if address]

        return await _answer(self._consul.health.service(service, passing=True, **since), read)

    async def owner(self, registration: Registration) -> str:
        """The process that holds the registration; empty: nobody."""
        found = self._consul.agent.services(filter_expr=f'ID == "{registration.id}"')
        return await _answer(found, lambda answer: "".join(_meta(one).get(_OWNER, "?") for one in answer.values()))

    async def register(self, registration: Registration, *, owner: str) -> None:
        ports = {name: str(port) for name, port in registration.ports.items()}
        await _answer(
            self._consul.agent.service.register(
                registration.service,
                service_id=registration.id,
                address=registration.host,
                port=registration.port,
                meta={"version": __version__, _OWNER: owner, **ports},
                check=_check(registration),
                replace_existing_checks=True,
            ),
            bool,
        )

    async def deregister(self, registration: Registration) -> None:
        await _answer(self._consul.agent.service.deregister(registration.id), bool)


def _check(registration: Registration) -> Mapping[str, Any]:
    how = {"interval": _CHECK_EVERY, "timeout": _CHECK_WITHIN, "deregister": _FORGET_AFTER}
    if registration.check is CheckKind.TCP:
        return consul.Check.tcp(joined(registration.host, 0).removesuffix(":0"), registration.port, **how)
    # As Consul's API has it; the names that py-consul would give are those of its configuration files.
    tls = {"GRPCUseTLS": True, "TLSSkipVerify": True} if registration.check is CheckKind.GRPC_TLS else {}
    return {**consul.Check.grpc(registration.address, **how), **tls}


def _address(entry: Mapping[str, Any], port: str) -> str:
    """Where an instance is; empty if somebody else registered it, without the port that is wanted."""
    service = entry["Service"]
    number = int(_meta(service).get(port, 0)) if port else service["Port"]
    return joined(service["Address"] or entry["Node"]["Address"], number) if number else ""


def _meta(service: Mapping[str, Any]) -> Mapping[str, str]:
    return service["Meta"] or {}


async def _answer(call: Awaitable[Any], read: Callable[[Any], Answer]) -> Answer:
    """What ``read`` makes of the answer."""
    try:
        return read(await call)
    except consul.ACLPermissionDenied as error:
        raise UnavailableError(f"it refuses CONSUL_HTTP_TOKEN, or the lack of one: {error}") from error
    except TimeoutError:
        raise UnavailableError("no answer in time") from None
    except (OSError, consul.ConsulException) as error:
        raise UnavailableError(str(error) or repr(error)) from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnavailableError(f"it answered what Consul wouldn't: {error!r}") from error


class _Consul(base.Consul):
    """py-consul's API over a given transport; nothing is read from the environment."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = transport
        super().__init__(host=transport.host, port=transport.port, scheme=transport.scheme, verify=True)

    def http_connect(self, *_arguments: Any, **_options: Any) -> _Transport:
        return self._transport


class _Transport(base.HTTPClient):
    """HTTP/1.0 on the event loop, a connection for each call: py-consul's own one would block, or need aiohttp.

    Its methods are coroutines; cancelling one closes its connection.
    """

    def __init__(self, settings: ConsulSettings, tls: ssl.SSLContext | None) -> None:
        where = settings.address
        super().__init__(where.host, where.port, where.scheme)
        self.base_uri = ""  # a request's first line has the path alone
        self._socket_path = where.socket_path
        self._tls = tls
        self._server_name = settings.tls_server_name or None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._socket_path:
            return await asyncio.open_unix_connection(self._socket_path)
        name = (self._server_name or self.host) if self._tls else None
        return await asyncio.open_connection(self.host, self.port, ssl=self._tls, server_hostname=name)

    async def _exchange(self, callback: Callable[[base.Response], Any], request: bytes, timeout_s: float) -> Any:
        async with asyncio.timeout(timeout_s):
            reader, writer = await self._connect()
            try:
                writer.write(request)
                answer = await reader.read()
            finally:
                writer.close()
        return callback(_response(answer))

    def _request(self, method: str, path: str, params: Any, headers: Mapping[str, str] | None, data: str = "") -> bytes:
        body = data.encode()
        fields = {"Host": joined(self.host, self.port), **(headers or {}), "Content-Length": str(len(body))}
        lines = [f"{method} {self.uri(path, params)} HTTP/1.0", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def get(
        self,
        callback: Callable[[base.Response], Any],
        path: str,
        params: Any = None,
        headers: Mapping[str, str] | None = None,
        **_options: Any,
    ) -> Any:
        held_back_s = _WAIT_S * 17 / 16 if "index" in dict(params or ()) else 0.0
        return await self._exchange(
            callback, self._request("GET", path, params, headers), _ANSWER_WITHIN_S + held_back_s
        )

    async def put(
        self,
        callback: Callable[[base.Response], Any],
        path: str,
        params: Any = None,
        data: str | bytes = "",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        return await self._exchange(callback, self._request("PUT", path, params, headers, str(data)), _ANSWER_WITHIN_S)

    # py-consul wants these two of every transport, for calls that aren't made here.

    async def delete(self, *_arguments: Any, **_options: Any) -> Any:
        raise NotImplementedError("nothing that is asked here needs DELETE")

    async def post(self, *_arguments: Any, **_options: Any) -> Any:
        raise NotImplementedError("nothing that is asked here needs POST")

    def close(self) -> None:
        """Nothing stays open between calls."""


def _response(answer: bytes) -> base.Response:
    """Raises ConnectionError when that is no whole answer of an HTTP server."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, _, fields = head.partition(b"\r\n")
    headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
    words = first.split()
    is_whole = len(body) == int(headers.get("Content-Length", len(body)))
    if not (len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() and is_whole):
        raise ConnectionError(f"got {bytes(answer[:40])!r}, expected the answer of an HTTP server")
    return base.Response(int(words[1]), headers, body.decode(errors="replace"))
