"""Whether a Keras model's configuration names parts of Keras that only compute.

It names classes and functions, which Keras looks up, imports or unmarshals. What is listed here computes. What isn't
may run code (Lambda, custom classes), unpickle (TorchModuleWrapper), or read files (StringLookup, TFSMLayer).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_LAYER_NAMES = """
Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D
AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense
DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout
GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer LSTM LSTMCell
LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum
MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN RandomBrightness RandomContrast RandomCrop
RandomFlip RandomRotation RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D
SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
StackedRNNCells STFTSpectrogram Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_OTHER_NAMES = """
Sequential Functional Model DTypePolicy DTypePolicyMap FloatDTypePolicy QuantizedDTypePolicy Constant GlorotNormal
GlorotUniform HeNormal HeUniform IdentityInitializer LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer
RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm
NonNeg UnitNorm __keras_tensor__ __tensor__ __numpy__ __ellipsis__ __slice__
"""
_CLASSES = frozenset(_LAYER_NAMES.split()) | frozenset(_OTHER_NAMES.split())
_ACTIVATION_NAMES = """
celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax
squareplus swish tanh tanh_shrink threshold
"""
_ACTIVATIONS = frozenset(_ACTIVATION_NAMES.split())
_MODULE = re.compile(
    r"(keras|keras\.(layers|models|initializers|regularizers|constraints|activations|dtype_policies)"
    r"|keras\.src\.models\.(functional|sequential|model)|builtins)"
)
_OPERATION_MODULE = re.compile(r"keras\.src\.ops\.(numpy|nn|math|linalg|image|core)")
_OPERATION = re.compile(r"[A-Z][A-Za-z0-9]*")
_CALLING = frozenset(("AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop"))
"""Operations of ``keras.ops`` that are given functions."""
_DEEPEST = 200


def strangers(config: Mapping[str, Any]) -> list[str]:
    """What it names that isn't known to compute only, sorted.

    Raises:
        ValueError: it is nested too deep.
    """
    # How it was trained is not loaded.
    return sorted(_strangers({name: part for name, part in config.items() if name != "compile_config"}, 0))


def _strangers(part: Any, depth: int) -> set[str]:
    if depth > _DEEPEST:
        raise ValueError(f"its configuration is nested deeper than {_DEEPEST} levels")
    found = set[str]()
    if isinstance(part, dict):
        if "class_name" in part and not _is_known(part):
            found.add(_name(part))
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            found |= _strangers(one, depth + 1)
    return found


def _is_known(part: dict[str, Any]) -> bool:
    name, module, registered = part["class_name"], part.get("module"), part.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return False
    if module and _OPERATION_MODULE.fullmatch(module):
        return bool(_OPERATION.fullmatch(name)) and name not in _CALLING and registered in (None, name)
    if module and not _MODULE.fullmatch(module):
        return False
    if name == "function":
        return isinstance(part.get("config"), str) and part["config"] in _ACTIVATIONS
    return name in _CLASSES and registered in (None, name)


def _name(part: dict[str, Any]) -> str:
    """What people call it."""
    name = part["config"] if part["class_name"] == "function" else part["class_name"]
    shown = part.get("registered_name") or name
    return str("Lambda" if name == "__lambda__" else shown)[:80]
