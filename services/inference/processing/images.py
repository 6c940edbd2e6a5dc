"""Photographs: decoded and brought to one size, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, ClassVar, Literal

import numpy as np

from services.inference.backends.backend import Array
from services.inference.backends.errors import InputError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.domain.signature import TensorSpec
from services.inference.processing.operation import Bound, Operation, Scope, missing_library

_FORMATS = ("JPEG", "PNG", "WEBP")
_EXAMPLES = ((1, 1), (40, 30), (200, 300), (97, 64), (256, 256))


class _RefusedError(Exception):
    """An image is not decoded, the message says why."""


@dataclass(frozen=True, kw_only=True)
class DecodeImage(Operation):
    """Makes UINT8 [rows, height, width, channels] of JPEG, PNG or WebP, turned upright as its EXIF orientation says.

    ``size`` is [height, width], whatever becomes of the proportions; or the shorter side is made ``shorter_side``, and
    ``crop``, [height, width], is cut out of the middle. Of an animation it is the first picture; transparency is lost.
    """

    name: ClassVar[str] = "decode_image"
    library: ClassVar[str] = "pillow"

    input: str = "image"
    output: str = ""
    mode: Literal["RGB", "L"] = "RGB"
    size: tuple[int, int] = (0, 0)
    shorter_side: int = 0
    crop: tuple[int, int] = (0, 0)
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    max_pixels: int = 64_000_000
    """Of an image, as sent and as resized; one of more is refused before it is decoded."""

    def __post_init__(self) -> None:
        if min(self.size) > 0 and not (self.shorter_side or any(self.crop)):
            return
        if any(self.size) or not 0 < min(self.crop) <= max(self.crop) <= self.shorter_side:
            raise ValueError(
                f"got size = {list(self.size)}, shorter_side = {self.shorter_side} and crop = {list(self.crop)}: "
                "expected a size, or a shorter_side and a crop that is not larger"
            )

    def bind(self, scope: Scope, _files: ModelFiles) -> Bound:
        try:
            import PIL.Image
        except ImportError as error:
            raise missing_library(self.library, error) from error
        PIL.Image.MAX_IMAGE_PIXELS = None  # max_pixels is looked at before any pixel is decoded
        output = self.output or scope.current or self.input
        given = scope.sent(self.input)
        size = self.size if any(self.size) else self.crop
        made = TensorSpec(output, "UINT8", (given.shape[0], *size, len(self.mode)))
        return Bound((given.name,), (made,), partial(self._decode_all, given.name), tuple(map(_example, _EXAMPLES)))

    def _decode_all(self, name: str, contents: Array) -> Sequence[Array]:
        height, width = self.size if any(self.size) else self.crop
        pixels = np.empty((len(contents), height, width, len(self.mode)), np.uint8)
        refused = {}
        for row, content in enumerate(contents):
            try:
                pixels[row] = np.asarray(self._decode(content)).reshape(pixels.shape[1:])
            except _RefusedError as error:
                refused[row] = str(error)
            except Exception as error:  # noqa: BLE001 - decoders raise whatever a damaged file leads them to
                refused[row] = f"got an image that is damaged ({public_message(error)}), expected a whole one"
        if refused:
            raise InputError(name, refused)
        return [pixels]

    def _decode(self, content: bytes) -> Any:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            image: Any = Image.open(BytesIO(content), formats=_FORMATS)
        except UnidentifiedImageError:
            what = f"{len(content)} bytes that begin with {content[:8]!r}"
            raise _RefusedError(f"got {what}, expected an image: {', '.join(_FORMATS)}") from None
        self._check(image.width, image.height)
        image = ImageOps.exif_transpose(image).convert(self.mode)
        method = Image.Resampling[self.filter.upper()]
        if any(self.size):
            return image.resize(self.size[::-1], method)
        shorter = min(image.size)
        width, height = (side * self.shorter_side // shorter for side in image.size)
        self._check(width, height, f" once its shorter side is {self.shorter_side}")
        left, top = (width - self.crop[1]) // 2, (height - self.crop[0]) // 2
        return image.resize((width, height), method).crop((left, top, left + self.crop[1], top + self.crop[0]))

    def _check(self, width: int, height: int, when: str = "") -> None:
        if width * height > self.max_pixels:
            got = f"an image of {width} x {height} pixels{when}"
            raise _RefusedError(f"got {got}, expected at most {self.max_pixels} in all")


def _example(size: tuple[int, int]) -> bytes:
    """A picture of noise."""
    from PIL import Image

    file, random = BytesIO(), np.random.default_rng(size)
    Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


OPERATIONS = (DecodeImage,)
