"""Whether a version may be loaded, by what came of its signature: the table in docs/trust.md."""

from __future__ import annotations

import pytest

from services.common.trust import Finding, Outcome, refusal

OWN, FOREIGN = "keySets/release/keys/anna", "keySets/research/keys/carl"
UNSIGNED, UNKNOWN = Finding(Outcome.UNSIGNED), Finding(Outcome.UNKNOWN_KEY, fingerprint="ab" * 32)
BROKEN = Finding(Outcome.BROKEN, detail="graph is not signed")


@pytest.mark.parametrize(
    ("finding", "asked", "is_trusted", "expected"),
    [
        (UNSIGNED, "", False, ""),
        (UNKNOWN, "", False, ""),
        (Finding(Outcome.VERIFIED, OWN), "", False, ""),
        (Finding(Outcome.REVOKED_KEY, OWN), "", False, f"it is signed by {OWN}, which is revoked"),
        (Finding(Outcome.REVOKED_KEY, OWN), "", True, ""),
        (BROKEN, "", True, "its signature is broken: graph is not signed"),
        (Finding(Outcome.VERIFIED, OWN), "release", False, ""),
        (UNSIGNED, "release", True, "it is not signed, its model asks for a signature of keySets/release"),
        (UNKNOWN, "release", True, "a key that the registry doesn't have (abababababababab…), its model asks"),
        (Finding(Outcome.VERIFIED, FOREIGN), "release", True, f"it is signed by {FOREIGN}, its model asks"),
        (Finding(Outcome.VERIFIED, "keySets/release2/keys/x"), "release", True, "its model asks"),
        (Finding(Outcome.REVOKED_KEY, OWN), "release", True, "which is revoked, its model asks"),
        (BROKEN, "release", True, "its signature is broken"),
    ],
)
def test_who_may_be_loaded(finding: Finding, asked: str, is_trusted: bool, expected: str) -> None:
    found = refusal(finding, key_set=asked, is_trusted=is_trusted)
    assert expected in found
    assert bool(found) == bool(expected)
