"""TorchScript archives, by torch: loaded only, PyTorch has deprecated the format. Loading one can run code.

Such an archive says nothing of data types and shapes. Its author describes all tensors in the manifest, in the order of
``forward``, or puts a ``signature.json`` beside the code:
``torch.jit.save(module, path, _extra_files={"signature.json": json.dumps({"inputs": [...], "outputs": [...]})})``, each
tensor as ``{"name": ..., "datatype": "FP32", "shape": [-1, 64]}``.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.inference.backends.backend import Backend, Model, Placement
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest
from services.inference.domain.variants import Level


class TorchScript(Backend):
    format = "torchscript"
    library = "torch"

    def recognises(self, files: ModelFiles) -> bool:
        if not files.is_archive(files.only):
            return False
        names = files.archived(files.only)
        return "constants.pkl" in names and any(name.startswith("code/") for name in names)

    def danger(self, _files: ModelFiles) -> str:
        return "can run code while loading"

    def load(self, files: ModelFiles, manifest: Manifest, placement: Placement, options: Mapping[str, str]) -> Model:
        from services.inference.backends import script_module

        return script_module.load(files, manifest, placement, options)

    def variants(self, _files: ModelFiles, model: Model, _level: Level) -> list[dict[str, str]]:
        from services.inference.backends import torch_runtime

        return torch_runtime.graph_variants(model.signature, model.device)

    def use_threads(self, threads: int) -> None:
        from services.inference.backends import torch_runtime

        torch_runtime.use_threads(threads)


BACKEND = TorchScript()
