"""A gRPC channel to one of several peers, and to another one when that is gone or fails."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Self

import grpc

from services.common.discovery.peers import Peers
from services.common.serving import CHANNEL_OPTIONS

_log = logging.getLogger(__name__)

_LAST_CALLS_S = 15.0
"""How long calls to a peer that was left may take to finish."""
Unary = Callable[..., Coroutine[Any, Any, Any]]
_PEER_FAILED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class FollowingChannel:
    """What a generated stub needs of a channel: unary calls, and streams of responses.

    It begins with a peer by chance, and stays there as long as that is known and answers. A call that ends with
    UNAVAILABLE or DEADLINE_EXCEEDED lets the next one go elsewhere; it isn't repeated here. Open streams stay where
    they are, and end with UNAVAILABLE when their peer is none any more. Not for calls with ``wait_for_ready``: they
    would wait for the one peer.
    """

    def __init__(self, peers: Peers, service: str) -> None:
        """``service`` is for the log. There must be a peer."""
        self._peers = peers
        self._service = service
        self._links: dict[str, _Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.address = random.choice(peers.addresses)
        """Where the next call goes."""
        peers.on_change(self._peers_changed)

    def leave(self) -> None:
        """Go to another peer, if there is one: the present one is silent."""
        if len(self._peers.addresses) > 1:
            _log.debug("the %s at %s fails", self._service, self.address)
            self.address = _next_after(self.address, self._peers.addresses)

    def _peers_changed(self) -> None:
        for address in self._links.keys() - set(self._peers.addresses):
            closing = asyncio.get_running_loop().create_task(self._links.pop(address).close(_LAST_CALLS_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        if self.address not in self._peers.addresses:
            _log.info("the %s at %s is gone", self._service, self.address)
            self.address = random.choice(self._peers.addresses)

    async def close(self) -> None:
        """End all calls."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, *(link.close(0) for link in self._links.values()), return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Unary:
        return self._unary("unary_unary", method, *arguments, **options)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Unary:
        return self._unary("stream_unary", method, *arguments, **options)

    def _unary(self, kind: str, method: str, *arguments: Any, **options: Any) -> Unary:
        async def call(*given: Any, **how: Any) -> Any:
            address = self.address
            try:
                return await self._link().method(kind, method, *arguments, **options)(*given, **how)
            except grpc.aio.AioRpcError as error:
                self._judge(address, error)
                raise

        return call

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Callable[..., _ResponseStream]:
        return self._responses("unary_stream", method, *arguments, **options)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Callable[..., _ResponseStream]:
        return self._responses("stream_stream", method, *arguments, **options)

    def _responses(self, kind: str, method: str, *arguments: Any, **options: Any) -> Callable[..., _ResponseStream]:
        def call(*given: Any, **how: Any) -> _ResponseStream:
            address, link = self.address, self._link()
            made = link.method(kind, method, *arguments, **options)(*given, **how)
            stream = _ResponseStream(made, lambda error: self._judge(address, error))
            link.streams.add(stream)
            return stream

        return call

    def _link(self) -> _Link:
        """To the present peer."""
        if (link := self._links.get(self.address)) is None:
            link = self._links[self.address] = _Link(self.address)
        return link

    def _judge(self, address: str, error: grpc.aio.AioRpcError) -> None:
        if error.code() in _PEER_FAILED and address == self.address:
            self.leave()


class _Link:
    """The channel to one peer, and what is open on it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._methods: dict[str, Any] = {}
        self.streams: weakref.WeakSet[_ResponseStream] = weakref.WeakSet()

    def method(self, kind: str, method: str, *arguments: Any, **options: Any) -> Any:
        if (found := self._methods.get(method)) is None:
            found = self._methods[method] = getattr(self._channel, kind)(method, *arguments, **options)
        return found

    async def close(self, grace_s: float) -> None:
        """End streams, and other calls if they take longer."""
        for stream in self.streams:
            stream.give_up()
        await self._channel.close(grace_s)


class _ResponseStream:
    """A call whose responses are read one by one."""

    def __init__(self, call: Any, on_error: Callable[[grpc.aio.AioRpcError], None]) -> None:
        self._call = call
        self._on_error = on_error
        self._is_given_up = False

    async def read(self) -> Any:
        """The next response, or ``grpc.aio.EOF``."""
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._on_error(error)
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._is_given_up or (task is not None and task.cancelling()):
                raise
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, nothing, nothing, details="the peer has left"
            ) from None

    def cancel(self) -> None:
        self._call.cancel()

    def give_up(self) -> None:
        """End the call from the side of the channel."""
        self._is_given_up = True
        self._call.cancel()


def _next_after(address: str, addresses: tuple[str, ...]) -> str:
    """Another of the addresses, which they all are in turn."""
    others = itertools.dropwhile(lambda one: one <= address, addresses)
    return next(others, addresses[0])
