"""Which tests go to which worker."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling


class SuiteScheduling(LoadFileScheduling):
    """A file at a time for each worker; what shares the running suite of ``tests/e2e`` counts as one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/e2e" if nodeid.startswith("tests/e2e/test_") else super()._split_scope(nodeid)
