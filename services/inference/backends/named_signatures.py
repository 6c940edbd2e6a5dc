"""Which of a model's named functions is served, where it has several."""

from __future__ import annotations

from collections.abc import Collection

from services.inference.backends.errors import LoadError
from services.inference.domain.manifest import Manifest

USUAL = "serving_default"


def chosen(keys: Collection[str], manifest: Manifest) -> str:
    """The one that the manifest's option ``signature`` names, else "serving_default", else the only one.

    Raises:
        LoadError: it is not there, or nobody says which of several.
    """
    wanted = manifest.options.get("signature", USUAL if USUAL in keys else "")
    if not wanted and len(keys) == 1:
        return next(iter(keys))
    if wanted not in keys:
        raise LoadError(
            f"got {f'the signature {wanted!r}' if wanted else 'no choice of a signature'}, expected the manifest's "
            f"option signature to be one of {', '.join(sorted(keys)) or 'none, which is all that the model has'}"
        )
    return wanted
