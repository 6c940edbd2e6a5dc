"""YAML as people write it, of mappings, lists, texts and numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*|\d+[smhd]")
_WORDS_OF_YAML = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def dumped(value: Mapping[str, Any]) -> str:
    """A document; texts with several lines become blocks."""
    return "\n".join(_mapping(value, "")) + "\n"


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{_text(key)}:", item, indent)


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        yield head
        yield from _mapping(item, f"{indent}  ")
    elif isinstance(item, Sequence) and not isinstance(item, str) and item:
        yield head
        yield from _list(item, f"{indent}  ")
    elif isinstance(item, str) and _is_block(item):
        yield f"{head} |-"
        yield from (f"{indent}  {line}" for line in item.split("\n"))
    else:
        yield f"{head} {_scalar(item)}"


def _list(items: Sequence[Any], indent: str) -> Iterator[str]:
    for item in items:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _is_block(text: str) -> bool:
    """Whether a text reads the same as a block: printable lines, none of which begins with a space."""
    lines = text.split("\n")
    return len(lines) > 1 and all(line.isprintable() and line[:1].strip() for line in lines)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    text = json.dumps(value)
    # YAML 1.1 takes 1e+16 for a text.
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    if '"' in text and text.isprintable():
        return "'{}'".format(text.replace("'", "''"))
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
