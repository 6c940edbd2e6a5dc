"""Folders of this machine: a model's files, or TensorFlow Serving's folders named by numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from services.registry.source_check.places import Place
from services.registry.source_check.trees import LocalTree, PlaceError, UnsettledError, is_hidden


def open_place(fields: Mapping[str, str], _scratch: Path) -> Place:
    return local_place(Path(fields["path"]))


def local_place(root: Path) -> Place:
    """A folder or file as it is, or the highest number in a folder of numbers."""
    number = newest_number(_names(root))
    if number is None:
        return Place(tree=LocalTree(root), origin=str(root))

    def check_same() -> None:
        if newest_number(_names(root)) != number:
            raise UnsettledError(f"there is a newer folder than {number}")

    folder = root / number
    return Place(tree=LocalTree(folder), origin=str(folder), revision=number, identity=number, check_same=check_same)


def newest_number(names: Iterable[tuple[str, bool]]) -> str | None:
    """The highest of the names that are numbers, where all that is there is folders; each with whether it has files.

    A folder without files may be about to get some: the one before it counts until then.
    """
    found = [(name, has_files) for name, has_files in names if not is_hidden(name)]
    numbers = [(int(name), name) for name, has_files in found if has_files and name.isdecimal()]
    is_numbered = bool(found) and all(name.isdecimal() or name.startswith(("tmp", "temp", "_")) for name, _ in found)
    return max(numbers)[1] if numbers and is_numbered else None


def _names(root: Path) -> list[tuple[str, bool]]:
    """What is in a folder; nothing where it is a file."""
    if not root.is_dir():
        return []
    try:
        inside = list(root.iterdir())
        if any(one.is_file() for one in inside if not is_hidden(one.name)):
            return []
        return [(one.name, one.is_dir() and any(one.iterdir())) for one in inside]
    except OSError as error:
        raise PlaceError(f"{root} can't be read: {error.strerror}") from None
