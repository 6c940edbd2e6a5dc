"""The addresses of one service's instances, as far as they are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.common.discovery.addresses import listed


class Peers:
    """Where a service's instances are: never none once some were known, since an old address beats no address."""

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self.addresses = tuple(addresses)
        """``host:port`` each; in an order that all processes share."""
        self._listeners: list[Callable[[], None]] = []

    @classmethod
    def at(cls, text: str) -> Peers:
        """Those of a list with commas between, which is put in order.

        Raises:
            ValueError: it is none.
        """
        return cls(sorted(listed(text)))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called, on the event loop, after each change; it must not block."""
        self._listeners.append(listener)

    def update(self, addresses: Iterable[str]) -> bool:
        """Replace the addresses, unless by none; whether that changed anything."""
        found = tuple(sorted(set(addresses)))
        if not found or found == self.addresses:
            return False
        self.addresses = found
        for listener in self._listeners:
            listener()
        return True

    def __str__(self) -> str:
        return ",".join(self.addresses)
