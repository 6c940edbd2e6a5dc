"""Models on this node's disk. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from services.common import model_paths
from services.inference.backends import PRODUCT
from services.inference.domain.content import Content

_PARTIAL = "partial"
_MODELS = "models"
_REMOVED = "removed-"


class CacheFolder:
    """Content is in ``<first two digits>/<sha256>``, whole and verified; ``partial`` has what is not whole yet.

    A model, ``models/<digest>``, is a folder of further links to its content. It is put together elsewhere and renamed,
    and renamed before it is taken apart, so that a folder that is there is whole whenever this process dies. What is
    made of a model lies beside it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def content(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def partial(self, sha256: str) -> Path:
        return self._root / _PARTIAL / sha256

    def model(self, digest: str) -> Path:
        return self._root / _MODELS / digest

    def has_product(self, digest: str) -> bool:
        """Whether native code was made here of a model."""
        return any(self.model("").glob(f"{digest}{PRODUCT}*.pt2"))

    @property
    def size_bytes(self) -> int:
        """What it takes of the disk, links counted once."""
        products = self._root.glob(f"{_MODELS}/*{PRODUCT}*")
        return sum(_size(path) for path in (*self.files(), *products) if path.is_file())

    @property
    def free_bytes(self) -> int:
        """What is free on its disk."""
        self._root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._root).free

    def missing_bytes(self, contents: Collection[Content]) -> int:
        """What is still to be fetched of some models."""
        sizes = {file.sha256: file.size_bytes for content in contents for file in content.files}
        return sum(
            max(0, size - _size(self.partial(sha256)))
            for sha256, size in sizes.items()
            if not self.content(sha256).exists()
        )

    def files(self) -> list[Path]:
        """Content, whole or not."""
        found = (path for pattern in ("[0-9a-f][0-9a-f]/*", f"{_PARTIAL}/*") for path in self._root.glob(pattern))
        return [path for path in found if path.is_file()]

    def models(self) -> list[str]:
        """Digests of the models, and of what was made of them; least recently used first."""
        used: dict[str, int] = {}
        for path in self._root.glob(f"{_MODELS}/*"):
            digest = path.name.partition(PRODUCT)[0]
            with contextlib.suppress(FileNotFoundError):
                used[digest] = max(used.get(digest, 0), path.stat().st_mtime_ns)
        return sorted(used, key=lambda digest: used[digest])

    def is_shared(self, path: Path) -> bool:
        """Whether a model has this content."""
        try:
            return path.stat().st_nlink > 1
        except FileNotFoundError:
            return False

    def touch(self, digest: str) -> None:
        """Note that a model is used."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.model(digest))

    def assemble(self, content: Content) -> None:
        """Put a model together; its content is here.

        Raises:
            OSError: the disk is full.
        """
        root = self.model(content.digest)
        root.parent.mkdir(parents=True, exist_ok=True)
        with self._scratch() as folder:
            made = folder / "model"
            for file in content.files:
                place = made / model_paths.check(file.path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.hardlink_to(self.content(file.sha256))
            try:
                made.rename(root)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another agent with the same folder was faster
                    raise

    def is_assembled(self, content: Content) -> bool:
        """Whether a model's folder has links to its content, and nothing else."""
        root = self.model(content.digest)
        files = {file.path: file.sha256 for file in content.files}
        found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if not path.is_dir()}
        try:
            return files.keys() == found.keys() and all(
                not path.is_symlink() and path.samefile(self.content(files[name])) for name, path in found.items()
            )
        except FileNotFoundError:
            return False

    def remove_model(self, digest: str) -> None:
        """Take a model apart, and remove what was made of it. A process that has a file open keeps it."""
        (self._root / _PARTIAL).mkdir(parents=True, exist_ok=True)
        removed = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=self._root / _PARTIAL))
        with contextlib.suppress(FileNotFoundError):
            self.model(digest).rename(removed / "model")
        for product in self.model("").glob(f"{digest}{PRODUCT}*"):
            product.rename(removed / product.name)
        shutil.rmtree(removed, ignore_errors=True)

    def clear(self) -> None:
        """Remove what agents that died left of what they were about to put together, or had taken apart."""
        for folder in self._root.glob(f"{_PARTIAL}/*/"):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(folder):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder that nobody clears while this process lives."""
        (self._root / _PARTIAL).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="model-", dir=self._root / _PARTIAL))
        try:
            with _locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises: BlockingIOError: another process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    """0 where it was removed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
