"""torch.export archives (.pt2), by torch. Loading one can run code that it brings: only for trusted files."""

from __future__ import annotations

from collections.abc import Mapping

from services.inference.backends.backend import Backend, Model, Placement
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest
from services.inference.domain.variants import Level

SUFFIX = ".pt2"


class TorchExport(Backend):
    format = "torch_export"
    library = "torch"

    def recognises(self, files: ModelFiles) -> bool:
        marks = {"archive_format", "serialized_exported_program.json"}
        name = files.main(SUFFIX)
        return files.is_archive(name) and not marks.isdisjoint(files.archived(name))

    def danger(self, _files: ModelFiles) -> str:
        return "can run code while loading"

    def load(self, files: ModelFiles, _manifest: Manifest, placement: Placement, options: Mapping[str, str]) -> Model:
        from services.inference.backends import exported_program

        return exported_program.load(files, files.main(SUFFIX), placement, options)

    def variants(self, _files: ModelFiles, model: Model, level: Level) -> list[dict[str, str]]:
        from services.inference.backends import exported_program

        return exported_program.variants(model, level)

    def use_threads(self, threads: int) -> None:
        from services.inference.backends import torch_runtime

        torch_runtime.use_threads(threads)


BACKEND = TorchExport()
