"""Who calls, read from a call: for the audit log. Nobody proves it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from services.registry.domain import callers
from services.registry.domain.callers import Caller

ACTOR = "x-penstock-actor"
"""Metadata by which callers say who they are."""
PEER = "x-penstock-peer"
"""Metadata by which a registry that passes a call on says where it came from."""
FORWARDED = "x-penstock-forwarded"
"""On a call that was passed on once: it goes no further."""
_LONGEST = 255

Servicer = TypeVar("Servicer")


def identified(servicer: Servicer) -> Servicer:
    """Let every rpc that answers once know its caller as :func:`callers.current`."""
    for name, method in inspect.getmembers(servicer, inspect.isroutine):
        if name[0].isupper() and not inspect.isasyncgenfunction(method):
            setattr(servicer, name, _identified(method))
    return servicer


def _identified(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    @functools.wraps(method)
    async def call(request: Any, context: Any) -> Any:
        token = callers.enter(caller_of(context))
        try:
            return await method(request, context)
        finally:
            callers.leave(token)

    return call


def caller_of(context: Any) -> Caller:
    metadata = dict(context.invocation_metadata() or ())
    peer = context.peer()
    if FORWARDED in metadata:
        peer = f"{_plain(metadata.get(PEER, ''))} via {peer}"
    return Caller(_plain(metadata.get(ACTOR, "")), _plain(peer))


def metadata_of(caller: Caller) -> list[tuple[str, str]]:
    """What a call that is passed on says of its caller."""
    return [(ACTOR, caller.actor), (PEER, caller.peer)]


def _plain(text: str | bytes) -> str:
    word = text.decode(errors="replace") if isinstance(text, bytes) else text
    return "".join(one if one.isprintable() else "?" for one in word[:_LONGEST])
