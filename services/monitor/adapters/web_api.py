"""Another system's HTTP API, called on the event loop: a connection for each call, bounded in time and size."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from penstock import __version__
from penstock.endpoints import joined
from services.common.errors import FailedPreconditionError, UnavailableError

_TIMEOUT_S = 5.0
_MAX_ANSWER_BYTES = 4 << 20
_PORTS = {"http": 80, "https": 443}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class WebApi:
    """What is below ``url`` (``http`` or ``https``); ``authorization`` is that header's value, "" for none."""

    def __init__(self, url: str, *, authorization: str = "", timeout_s: float = _TIMEOUT_S, ca_file: str = "") -> None:
        """``ca_file`` has the certificates that vouch for an ``https`` one; "": those of this machine.

        Raises:
            OSError: it can't be read.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self.address = joined(self._host, self._port)
        self._path = parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "https" else None
        self._authorization = authorization
        self._timeout_s = timeout_s

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send ``body`` as JSON; return the answer's JSON, None where there is none.

        Raises:
            UnavailableError: no answer, or one that says that repeating may help.
            FailedPreconditionError: it is refused for good.
        """
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        answer = await self.send(method, path, content)
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError:
            raise UnavailableError(f"{self.address} answered {_shown(answer)!r}, expected JSON") from None

    async def send(self, method: str, path: str, content: bytes, *, headers: Mapping[str, str] = _NO_HEADERS) -> bytes:
        """Send JSON as it is; return the answer's body, whatever it is. Errors as of :meth:`call`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                raw = await self._exchange(self._request(method, path, content, headers))
            status, answer = _read(raw)
        except TimeoutError:
            raise UnavailableError(f"{self.address} did not answer within {self._timeout_s:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = " ".join(str(error).split())
            raise UnavailableError(
                f"{self.address} can't be used: {why[:300] if why and why.isprintable() else type(error).__name__}"
            ) from error
        if status >= 500 or status in (408, 429):
            raise UnavailableError(f"{self.address} answered {status}: {_shown(answer)}")
        if status >= 300:
            raise FailedPreconditionError(f"{self.address} refused {method} {path} with {status}: {_shown(answer)}")
        return answer

    def _request(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> bytes:
        fields = {
            "Host": self.address,
            "User-Agent": f"penstock-monitor/{__version__}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **headers,
        }
        if self._authorization:
            fields["Authorization"] = self._authorization
        # HTTP/1.0: the answer ends with the connection.
        lines = [f"{method} {self._path}{path} HTTP/1.0", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode() + content

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
        )
        try:
            writer.write(request)
            answer = b""
            while part := await reader.read(65_536):
                answer += part
                if len(answer) > _MAX_ANSWER_BYTES:
                    raise ValueError(f"got more than {_MAX_ANSWER_BYTES} bytes")
            return answer
        finally:
            writer.close()


class _Received:
    """What ``http.client`` reads an answer from in place of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _read(raw: bytes) -> tuple[int, bytes]:
    """Status and body. Raises HTTPException: it is no whole answer."""
    answer = http.client.HTTPResponse(_Received(raw))  # type: ignore[arg-type]
    answer.begin()
    return answer.status, answer.read()


def _shown(answer: bytes) -> str:
    return " ".join(answer[:300].decode(errors="replace").split())
