"""``/metrics`` of several processes as one page, in Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAMILY_BEGINS = re.compile(r"^(?=# HELP )", re.MULTILINE)
_FAMILY = re.compile(r"((?:#[^\n]*\n)*)(.*)", re.DOTALL)
_SAMPLE_BEGINS = re.compile(r"^([\w:]+)(\{)?", re.MULTILINE)


def merged(pages: Mapping[str, str]) -> str:
    """Each process's samples with its name as label ``process``; a family's comments come once, its samples below."""
    families: dict[str, list[str]] = {}
    for process, page in pages.items():
        for family in filter(None, _FAMILY_BEGINS.split(page)):
            if (parts := _FAMILY.fullmatch(family)) is not None:
                families.setdefault(parts[1], []).append(_labelled(parts[2], process))
    return "".join(comments + "".join(samples) for comments, samples in families.items())


def _labelled(samples: str, process: str) -> str:
    def label(begin: re.Match[str]) -> str:
        return f'{begin[1]}{{process="{process}"{"," if begin[2] else "}"}'

    return _SAMPLE_BEGINS.sub(label, samples)
