"""Who asks for what is done."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """``actor`` is what the caller says of itself, ``peer`` where the call came from."""

    actor: str = ""
    peer: str = ""


NOBODY = Caller()
"""Asks for what the registry does by itself."""

_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current() -> Caller:
    """Whose call this task answers."""
    return _caller.get()


def enter(caller: Caller) -> Token[Caller]:
    """Answer a call, until :func:`leave`."""
    return _caller.set(caller)


def leave(token: Token[Caller]) -> None:
    _caller.reset(token)
