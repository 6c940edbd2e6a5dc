"""What a backend has to be: see docs/backends.md for how to add one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest, Step
from services.inference.domain.signature import Signature
from services.inference.domain.variants import Level

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs. ``device`` is "auto", "cpu" or "cuda:0"; ``threads`` are those of one execution."""

    device: str = "auto"
    threads: int = 1


class Model(Protocol):
    """A loaded model. ``run`` is called from one thread at a time."""

    @property
    def signature(self) -> Signature:
        """What the model says of itself."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu", "cuda:0"."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Infer. Arrays have the numpy types of ``services.common.datatypes``: BF16 as uint16, BYTES as objects.

        Raises:
            RunError: the model failed on this input.
            DeviceLostError: the process must end.
        """


class Backend(ABC):
    """Serves one format. Made without its library, which only ``load`` and what comes after it may import."""

    format: ClassVar[str]
    """The format's name, as in ``ModelVersion.format``."""
    library: ClassVar[str]
    """The module that must be installed, for example "onnxruntime"."""
    is_elsewhere: ClassVar[bool] = False
    """Whether its models are reached by the network."""
    is_code: ClassVar[bool] = False
    """Whether its models are code of their authors: what they do besides answering, nobody knows."""

    @abstractmethod
    def recognises(self, files: ModelFiles) -> bool:
        """Whether the content is of this format; names may say where to look, and prove nothing.

        Raises:
            LoadError: it is, and is damaged.
        """

    @abstractmethod
    def load(self, files: ModelFiles, manifest: Manifest, placement: Placement, options: Mapping[str, str]) -> Model:
        """Load a model that this backend recognises. ``options`` are those of one of its variants.

        The manifest is what the author says; its options are the backend's to heed, and what it says of tensors where
        the files don't.

        Raises:
            LoadError: the model is damaged or asks for what it can't have, or can't be loaded as this variant.
        """

    def danger(self, _files: ModelFiles) -> str:
        """What loading such a model can do that nobody asked for, to follow "it"; empty where it can't.

        Such a version needs somebody who vouches for it.
        """
        return ""

    def steps(self, _files: ModelFiles, manifest: Manifest) -> tuple[Sequence[Step], Sequence[Step]]:
        """What is done before and after the model: what the manifest says, or else what such files imply."""
        return manifest.preprocessing, manifest.postprocessing

    def variants(self, _files: ModelFiles, _model: Model, _level: Level) -> list[dict[str, str]]:
        """Options that may make a loaded model faster, the simplest first."""
        return []

    def use_threads(self, _threads: int) -> None:  # noqa: B027 - most libraries have no such number
        """Let models run with so many threads from now on, where the library has one number for all."""
