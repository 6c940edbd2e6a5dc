"""Labels that wait for their predictions, which may come seconds later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services.monitor.domain.quality.labels import Label

MAX_WAITING, MAX_WAITING_OF_MODEL = 100_000, 50_000

Key = tuple[str, int]
"""A model, and the key of a request."""


class WaitingLabels:
    """At most one label for each request, and a limited number of them: of all models and of each."""

    def __init__(self) -> None:
        self._labels: dict[Key, Label] = {}
        self._of_model: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._labels)

    def __contains__(self, key: Key) -> bool:
        return key in self._labels

    def has_room(self, model: str, *, beside: int) -> bool:
        """Whether another label of a model may wait, ``beside`` more that are about to."""
        return len(self) + beside < MAX_WAITING and self._of_model[model] + beside < MAX_WAITING_OF_MODEL

    def add(self, label: Label) -> None:
        self._labels[label.model, label.key] = label
        self._of_model[label.model] += 1

    def remove(self, label: Label) -> None:
        """Nothing happens where it doesn't wait."""
        if self._labels.pop((label.model, label.key), None) is not None:
            self._of_model[label.model] -= 1
            if not self._of_model[label.model]:
                del self._of_model[label.model]

    def keep_only(self, keys: Iterable[Key]) -> None:
        left = set(keys)
        for label in [one for key, one in self._labels.items() if key not in left]:
            self.remove(label)

    def awaiting(self, keys: Iterable[Key]) -> list[Label]:
        """The labels that wait for one of these, each once."""
        return [label for key in dict.fromkeys(keys) if (label := self._labels.get(key)) is not None]
