"""Deploy machine-learning models and keep them healthy: the Python client of a Penstock suite."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.client import Client
    from penstock.serving import Serving
    from penstock.tls import Tls

__all__ = ["Client", "Serving", "Tls", "__version__"]

try:
    __version__ = version("penstock")
except PackageNotFoundError:  # run from a source tree that isn't installed
    __version__ = "0+unknown"

_MODULES = {"Client": "penstock.client", "Serving": "penstock.serving", "Tls": "penstock.tls"}


def __getattr__(name: str) -> Any:
    # Services import the generated modules of this package; they don't need the client and all that it imports.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
