"""One process's dealings with Consul: where others are, and that it is there itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.discovery.peers import Peers
from services.common.discovery.registration import Registration
from services.common.discovery.settings import ConsulSettings
from services.common.errors import PenstockError

if TYPE_CHECKING:
    from services.common.discovery.consul_agent import ConsulAgent

_log = logging.getLogger(__name__)

_RETRY_S = 1.0
_LOOK_S = 2.0
"""How often a process makes sure that Consul still knows it."""
_CALM_S = 0.1
"""Changes that come within this time are one."""
_LEAVE_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Watch:
    """A service whose addresses are followed."""

    service: str
    port: str
    peers: Peers


class Discovery:
    """Made once in a process; :meth:`run` is its work. Where no Consul is named, it does nothing and lists stay."""

    def __init__(self, settings: ConsulSettings) -> None:
        """Raises:
        ValueError: a file for TLS isn't what it must be.
        """
        self._settings = settings
        self._tls = _tls(settings) if settings.is_encrypted else None
        self.watches: list[Watch] = []
        self._owner = secrets.token_hex(4)
        """Tells this process from one that had its address before, or has it after."""
        self._registration: Registration | None = None
        self._has_registration = asyncio.Event()
        self._registering = asyncio.Lock()
        self._agent: ConsulAgent | None = None
        self._failures: dict[str, str] = {}

    @property
    def is_enabled(self) -> bool:
        """Whether there is a Consul to ask."""
        return bool(self._settings.http_addr)

    @property
    def is_answered(self) -> bool:
        """Whether Consul did all that it was asked to do last."""
        return bool(self._failures) and not any(self._failures.values())

    def find(self, service: str, known: str, *, port: str = "") -> Peers:
        """Where a service is: at the addresses in the list ``known``, until Consul says more. An empty list stays so.

        ``port`` names one of the instances' further ports.
        """
        peers = Peers.at(known)
        if peers.addresses:
            self.watches.append(Watch(service, port, peers))
        return peers

    def announce(self, registration: Registration) -> None:
        """Have Consul know this process, from now on until :meth:`withdraw`."""
        self._registration = registration
        self._has_registration.set()

    async def withdraw(self) -> None:
        """Leave, so that nobody new comes; waits until Consul has heard it, for a second at most."""
        registration, self._registration = self._registration, None
        if registration is None or self._agent is None:
            return
        with contextlib.suppress(TimeoutError, PenstockError):
            async with asyncio.timeout(_LEAVE_WITHIN_S), self._registering:
                if await self._agent.owner(registration) == self._owner:
                    await self._agent.deregister(registration)

    async def run(self) -> None:
        """Follow the others, and stay known. Runs until cancelled."""
        if not self.is_enabled:
            await asyncio.Event().wait()
        agent = self._agent = await asyncio.to_thread(_open, self._settings, self._tls)
        async with asyncio.TaskGroup() as group:
            for watch in self.watches:
                group.create_task(self._follow(agent, watch))
            await self._has_registration.wait()
            await self._stay_registered(agent)

    async def _follow(self, agent: ConsulAgent, watch: Watch) -> None:
        seen = 0

        async def look() -> None:
            nonlocal seen
            asked, seen = seen, 0  # after a failure, ask for the present state
            seen, addresses = await agent.healthy(watch.service, port=watch.port, after=asked)
            if watch.peers.update(addresses):
                _log.info("%s is at %s", watch.service, watch.peers)

        while True:
            is_done = await self._attempt(f"say where {watch.service} is", look)
            await asyncio.sleep(_CALM_S if is_done else _RETRY_S)

    async def _stay_registered(self, agent: ConsulAgent) -> None:
        is_first = True

        async def look() -> None:
            nonlocal is_first
            async with self._registering:
                if (mine := self._registration) is not None and (is_first or not await agent.owner(mine)):
                    await agent.register(mine, owner=self._owner)
                    is_first = False
                    _log.info("Consul knows %s", mine.id)

        while True:
            is_done = await self._attempt("register this process", look)
            await asyncio.sleep(_LOOK_S if is_done else _RETRY_S)

    async def _attempt(self, what: str, action: Callable[[], Awaitable[None]]) -> bool:
        """Whether it was done. Each kind of failure is told once, and its end."""
        try:
            await action()
        except PenstockError as error:
            if self._failures.get(what) != error.message:
                _log.warning("Consul at %s doesn't %s: %s", self._settings.http_addr, what, error)
            self._failures[what] = error.message
            return False
        if self._failures.get(what):
            _log.info("Consul does %s again", what)
        self._failures[what] = ""
        return True


def _open(settings: ConsulSettings, tls: ssl.SSLContext | None) -> ConsulAgent:
    """Called in a thread: the import takes a while."""
    from services.common.discovery.consul_agent import ConsulAgent

    return ConsulAgent(settings, tls)


def _tls(settings: ConsulSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.cacert, capath=settings.capath)
        if settings.client_cert is not None:
            context.load_cert_chain(settings.client_cert, settings.client_key)
    except OSError as error:
        raise ValueError(f"can't use CONSUL_CACERT, CONSUL_CLIENT_CERT or CONSUL_CLIENT_KEY: {error}") from None
    if not settings.http_ssl_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
