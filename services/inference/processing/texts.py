"""Texts: cut into tokens by tokenizers, and what models make of tokens put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from services.common.datatypes import bfloat16_as_floats, datatype
from services.inference.backends.backend import Array
from services.inference.backends.errors import InputError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.texts import no_text
from services.inference.domain.signature import TensorSpec
from services.inference.processing.operation import (
    Bound,
    Operation,
    Scope,
    StepError,
    check_datatype,
    float_type,
    floats,
    missing_library,
    shown,
)

_EXAMPLES = (
    "The quick brown fox jumps over the lazy dog.",
    "Où est la gare?",
    "42",
    "Penstocks lead water under pressure to a turbine, and sluices hold it back. " * 3,
    "ΑΩ 世界 🚀",
)
_PADS = ("[PAD]", "<pad>", "<|endoftext|>")


@dataclass(frozen=True, kw_only=True)
class Tokenize(Operation):
    """Makes ``ids``, ``mask`` and ``types`` of texts in UTF-8, by a ``tokenizer.json`` in the model's folder.

    Its own truncation and padding don't count. Texts of more than ``max_length`` tokens are cut, or refused without
    ``truncation``; shorter ones are padded to the longest of the batch, or to ``max_length``.
    """

    name: ClassVar[str] = "tokenize"
    library: ClassVar[str] = "tokenizers"

    input: str = "text"
    file: str = "tokenizer.json"
    max_length: int
    truncation: bool = True
    padding: Literal["longest", "max_length"] = "longest"
    pad_token: str = ""
    """Left out, it is the file's own, or one of the usual names that is in the vocabulary."""
    lowercase: bool = False
    prefix: str = ""
    """Put before each text, as models for queries and passages want it."""
    ids: str = "input_ids"
    mask: str = "attention_mask"
    types: str = "token_type_ids"
    datatype: str = "INT64"
    max_bytes: int = 1 << 20
    """Of a text; a longer one is refused before it is looked at."""

    def __post_init__(self) -> None:
        check_datatype(self.datatype, ("INT32", "INT64"))
        if self.max_length < 1 or self.max_bytes < 1:
            raise ValueError(f"got max_length = {self.max_length}, max_bytes = {self.max_bytes}: expected 1 or more")

    def bind(self, scope: Scope, files: ModelFiles) -> Bound:
        given = scope.sent(self.input)
        tokenizer = self._load(files)
        length = self.max_length if self.padding == "max_length" else -1
        names = (self.ids, self.mask, self.types)
        made = tuple(TensorSpec(name, self.datatype, (given.shape[0], length)) for name in names)
        examples = tuple(text.encode() for text in _EXAMPLES)
        return Bound((given.name,), made, partial(self._tokenize, tokenizer, self._pad(tokenizer)), examples)

    def _load(self, files: ModelFiles) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise missing_library(self.library, error) from error
        if self.file not in files.names:
            raise StepError(f"got file = {self.file!r}, expected one of {', '.join(files.names)}")
        try:
            tokenizer = Tokenizer.from_file(str(files.path(self.file)))
        except Exception as error:  # a class of its own, without a name
            raise StepError(f"{self.file} is no tokenizer: {public_message(error)}") from error
        tokenizer.no_truncation()
        if self.truncation:
            if self.max_length <= (special := tokenizer.num_special_tokens_to_add(is_pair=False)):
                raise StepError(f"got max_length = {self.max_length}, expected more than {special} special tokens")
            tokenizer.enable_truncation(self.max_length)
        return tokenizer

    def _pad(self, tokenizer: Any) -> int:
        """The number of the token that fills up, which models are told not to look at."""
        said = (tokenizer.padding or {}).get("pad_token")
        for token in (self.pad_token,) if self.pad_token else (said, *_PADS):
            if token and (number := tokenizer.token_to_id(token)) is not None:
                tokenizer.no_padding()
                return int(number)
        raise StepError(f"got pad_token = {self.pad_token!r}, expected a token of the vocabulary")

    def _tokenize(self, tokenizer: Any, pad: int, contents: Array) -> Sequence[Array]:
        encodings = tokenizer.encode_batch_fast(self._texts(contents))
        lengths = [len(one.ids) for one in encodings]
        if refused := {row: self._wrong(length) for row, length in enumerate(lengths) if self._wrong(length)}:
            raise InputError(self.input, refused)
        width = self.max_length if self.padding == "max_length" else max(lengths, default=0)
        shape, dtype = (len(contents), width), datatype(self.datatype).dtype
        ids, mask, types = np.full(shape, pad, dtype), np.zeros(shape, dtype), np.zeros(shape, dtype)
        for row, (one, length) in enumerate(zip(encodings, lengths, strict=True)):
            ids[row, :length], mask[row, :length], types[row, :length] = one.ids, one.attention_mask, one.type_ids
        return [ids, mask, types]

    def _wrong(self, length: int) -> str:
        """What is wrong with a text of so many tokens, if anything is."""
        if 0 < length <= self.max_length:
            return ""
        return f"got a text of {length} tokens, expected 1 to {self.max_length}"

    def _texts(self, contents: Array) -> list[str]:
        texts, refused = [], {}
        for row, content in enumerate(contents):
            if len(content) > self.max_bytes:
                refused[row] = f"got a text of {len(content)} bytes, expected at most {self.max_bytes}"
                continue
            try:
                text = content.decode()
            except UnicodeDecodeError as error:
                refused[row] = no_text(error)
                continue
            texts.append(self.prefix + (text.lower() if self.lowercase else text))
        if refused:
            raise InputError(self.input, refused)
        return texts


@dataclass(frozen=True, kw_only=True)
class Pool(Operation):
    """Makes one vector of those of a text's tokens, of which the ``mask`` says which there are.

    "mean" is their mean, "max" the largest of each element, "cls" the first token's.
    """

    name: ClassVar[str] = "pool"

    input: str = ""
    output: str = "sentence_embedding"
    mode: Literal["mean", "max", "cls"] = "mean"
    mask: str = "attention_mask"

    def bind(self, scope: Scope, _files: ModelFiles) -> Bound:
        given, mask = scope.named(self.input), scope.named(self.mask)
        if given.datatype not in ("FP16", "BF16", "FP32", "FP64") or len(given.shape) != 3:
            raise StepError(f"got input {shown(given)}, expected floating-point numbers [rows, tokens, elements]")
        if mask.datatype not in ("INT32", "INT64", "BOOL") or len(mask.shape) != 2:
            raise StepError(f"got mask {shown(mask)}, expected whole numbers [rows, tokens]")
        kind = float_type(given.datatype)
        made = replace(given, name=self.output, datatype=kind, shape=(given.shape[0], given.shape[2]))
        return Bound((given.name, mask.name), (made,), partial(self._pool, is_bfloat=given.datatype == "BF16"))

    def _pool(self, vectors: Array, mask: Array, *, is_bfloat: bool) -> Sequence[Array]:
        vectors = floats(bfloat16_as_floats(vectors) if is_bfloat else vectors)
        if self.mode == "cls":
            return [vectors[:, 0]]
        if self.mode == "max":
            return [np.where(mask[..., None] != 0, vectors, -np.inf).max(axis=1).astype(vectors.dtype)]
        weights = mask.astype(vectors.dtype)
        sums = (weights[:, None, :] @ vectors)[:, 0]
        return [sums / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)]


OPERATIONS = (Tokenize, Pool)
