"""What the files of a transformers folder say of the model, and of what belongs before and after it.

``config.json`` says what it is. With a ``tokenizer.json`` texts are its input: of an encoder, the vectors of a text's
tokens become one as ``modules.json`` of sentence-transformers says, else their mean; a classifier's scores become
probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from services.inference.backends.errors import LoadError
from services.inference.backends.files import ModelFiles
from services.inference.backends.safetensors_files import INDEX, WEIGHTS, read_object
from services.inference.domain.manifest import Step

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_POSITIONS_AFTER_PAD = {"camembert", "mpnet", "roberta", "xlm-roberta"}
"""Their positions are counted from the padding's number on: so many texts are shorter than the table of positions."""
MODEL_TYPES = _POSITIONS_AFTER_PAD | {"albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert"}
_CLASSIFIER = "ForSequenceClassification"
_ENCODERS = ("Model", "ForMaskedLM", "ForPreTraining")
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
_UNLIMITED = 10**6
"""Tokenizers that know no limit say a larger one."""

Steps = Sequence[Step]


class TransformersFolder:
    """A folder as ``save_pretrained`` of transformers or sentence-transformers writes it.

    Properties raise LoadError where files can't be read.
    """

    def __init__(self, files: ModelFiles) -> None:
        self.files = files

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return read_object(self.files, CONFIG)

    @property
    def has_weights(self) -> bool:
        return not {WEIGHTS, INDEX}.isdisjoint(self.files.names)

    @property
    def pickle(self) -> str:
        """The name of weights that are kept as a pickle; empty where there are none."""
        return next((name for name in _PICKLES if name in self.files.names), "")

    def check(self) -> None:
        """Raises: LoadError: it isn't one of the models that are served."""
        if not self.has_weights:
            raise LoadError(f"the weights are in {self.pickle}, a pickle: expected {WEIGHTS} (see penstock convert)")
        kind, architecture = self.config.get("model_type"), self._architecture
        if kind not in MODEL_TYPES:
            raise LoadError(f"{CONFIG} has model_type {kind!r}, expected one of {', '.join(sorted(MODEL_TYPES))}")
        if not architecture.endswith((_CLASSIFIER, *_ENCODERS)):
            raise LoadError(f"got architecture {architecture!r}, expected an encoder or …{_CLASSIFIER}")
        for name, why in (("auto_map", "runs code of its own"), ("quantization_config", "has quantised weights")):
            if name in self.config:
                raise LoadError(f"{CONFIG} has {name}: a model that {why} is not served")

    @property
    def _architecture(self) -> str:
        found = self.config.get("architectures")
        return str(found[0]) if isinstance(found, list) and found else "Model"

    @property
    def is_classifier(self) -> bool:
        return self._architecture.endswith(_CLASSIFIER)

    @property
    def most_tokens(self) -> int:
        """Of a text, special ones included."""
        positions = self._number(self.config, CONFIG, "max_position_embeddings", 512)
        if self.config.get("model_type") in _POSITIONS_AFTER_PAD:
            positions -= self._number(self.config, CONFIG, "pad_token_id", 1) + 1
        return positions

    def before(self) -> Steps:
        """Texts become tokens, if there is a tokenizer."""
        if TOKENIZER not in self.files.names:
            return ()
        sentences, name = read_object(self.files, "sentence_bert_config.json"), "tokenizer_config.json"
        tokens = read_object(self.files, name)
        arguments: dict[str, Any] = {"max_length": self._most_tokens_said(sentences, tokens)}
        pad = tokens.get("pad_token")
        if text := pad.get("content") if isinstance(pad, dict) else pad:
            arguments["pad_token"] = text
        if sentences.get("do_lower_case") is True:
            arguments["lowercase"] = True
        if prompt := self._prompt():
            arguments["prefix"] = prompt
        return (Step("tokenize", arguments),)

    def _most_tokens_said(self, sentences: Mapping[str, Any], tokens: Mapping[str, Any]) -> int:
        limits = [self.most_tokens]
        for fields, file, name in (
            (sentences, "sentence_bert_config.json", "max_seq_length"),
            (tokens, "tokenizer_config.json", "model_max_length"),
        ):
            limits += [self._number(fields, file, name, self.most_tokens)]
        return min(limits)

    def _prompt(self) -> str:
        said = read_object(self.files, "config_sentence_transformers.json")
        prompts, name = said.get("prompts"), said.get("default_prompt_name")
        return str(prompts.get(name, "")) if isinstance(prompts, dict) and name else ""

    def after(self) -> Steps:
        """Scores become probabilities; the vectors of a text's tokens become one."""
        if self.is_classifier:
            return self._after_classifier()
        return self._after_encoder() if TOKENIZER in self.files.names else ()

    def _after_classifier(self) -> Steps:
        kind, labels = self.config.get("problem_type"), self.config.get("id2label")
        count = len(labels) if isinstance(labels, dict) else self.config.get("num_labels", 2)
        if kind == "regression" or count == 1:
            return ()
        if kind == "multi_label_classification":
            return (Step("sigmoid", {"output": "probabilities"}),)
        names = ["probabilities", "label", "score"]
        return Step("softmax", {"output": names[0]}), Step("top_k"), Step("output", {"names": names})

    def _after_encoder(self) -> Steps:
        steps = []
        for kind, path in self._modules():
            if kind == "Pooling":
                steps.append(Step("pool", {"mode": self._pooling(path)}))
            elif kind == "Normalize":
                steps.append(Step("l2_normalize"))
            elif kind != "Transformer" or path:
                raise LoadError(f"modules.json has a {kind} in {path!r}, expected Transformer, Pooling and Normalize")
        return steps or (Step("pool"),)

    def _modules(self) -> Sequence[tuple[str, str]]:
        """The last word of each module's class, and its folder."""
        if "modules.json" not in self.files.names:
            return ()
        try:
            modules = json.loads(self.files.head("modules.json", 2**16))
            return [(str(one["type"]).rpartition(".")[2], str(one["path"]).rstrip("/")) for one in modules]
        except (ValueError, KeyError, TypeError) as error:
            raise LoadError(f"modules.json is no list of modules: {type(error).__name__}: {error}") from error

    def _pooling(self, path: str) -> str:
        said = read_object(self.files, f"{path}/{CONFIG}")
        chosen = [name for name, value in said.items() if name.startswith("pooling_mode_") and value]
        if len(chosen) != 1 or chosen[0] not in _POOLINGS:
            raise LoadError(f"{path}/{CONFIG} says {chosen or 'nothing'}, expected one of {', '.join(_POOLINGS)}")
        if said.get("include_prompt") is False and self._prompt():
            raise LoadError(f"{path}/{CONFIG} leaves the prompt's tokens out, expected all tokens to be pooled")
        return _POOLINGS[chosen[0]]

    @staticmethod
    def _number(fields: Mapping[str, Any], file: str, name: str, default: int) -> int:
        value = default if fields.get(name) is None else fields[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise LoadError(f"{file} has {name} {value!r}, expected a number")
        return int(min(value, _UNLIMITED))
