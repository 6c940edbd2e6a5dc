"""The front that the gateway of a test is to have, where the test is not about one of them."""

from __future__ import annotations

import os

FRONT = {"PENSTOCK_GATEWAY__FRONT": os.environ.get("TEST_FRONT", "native")}
"""As `make test FRONT=grpcio` and `make test-fronts` ask for."""
