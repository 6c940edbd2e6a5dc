from __future__ import annotations

import numpy as np
import pytest
from tritonclient.utils import triton_to_np_dtype

from penstock.tensors import Tensor, fitted, random
from services.common.datatypes import DATATYPES

IMAGE = Tensor("image", "FP32", (-1, 4))


def test_missing_batch_dimension_is_added_and_type_converted() -> None:
    got = fitted(np.arange(4), IMAGE)
    assert (got.shape, got.dtype) == ((1, 4), np.float32)


@pytest.mark.parametrize("shape", [(2, 3), (1, 1, 4), (2, 2, 4)])
def test_wrong_shape_says_got_and_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{'×'.join(map(str, shape))}, expected any×4"):
        fitted(np.zeros(shape, np.float32), IMAGE)


def test_lossy_conversion_is_refused() -> None:
    with pytest.raises(ValueError, match="float64, expected INT64"):
        fitted(np.zeros((1, 4)), Tensor("ids", "INT64", (-1, 4)))


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BF16"])
def test_random_values_have_the_form_asked_for(datatype: str) -> None:
    made = random(Tensor("x", datatype, (-1, 3, -1)), rows=5, generator=np.random.default_rng(1))
    assert made.shape == (5, 3, 1)
    assert made.dtype == np.dtype(triton_to_np_dtype(datatype))
