"""Models as other tools keep them: TorchServe's archives, Triton's repositories, MLflow's folders."""

from __future__ import annotations

from pathlib import Path

from penstock.importing import mlflow, torchserve, triton
from penstock.importing.foreign import ForeignModel, ForeignModelError
from penstock.importing.signing import sign

__all__ = ["ForeignModel", "ForeignModelError", "find", "sign"]


def find(path: Path, *, scratch: Path) -> list[ForeignModel]:
    """The models that are kept there, in the order in which they should be deployed. Nothing of theirs is run.

    What has to be unpacked goes to ``scratch``, a folder that must stay until they are uploaded.

    Raises:
        OSError: it can't be read.
        ForeignModelError: it is nothing of the kind, or can't be served; the message says why.
    """
    for tool in (torchserve, mlflow, triton):
        if tool.recognises(path):
            return tool.read(path, scratch)
    raise ForeignModelError(
        f"{path} is none of: an archive of TorchServe (.mar), a folder of MLflow (with a file MLmodel), a model "
        "repository of Triton (with a config.pbtxt, or with folders named by versions). A model itself is deployed by "
        "penstock deploy"
    )
