"""Photographs, against what Pillow makes of them; and files that are none."""

from __future__ import annotations

import contextlib
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from services.inference.backends import InputError
from services.inference.processing.model import ProcessedModel
from tests.unit.inference.processing.models import echo, step, with_steps

RANDOM = np.random.default_rng(0)


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    channels = len(mode)
    small = RANDOM.integers(0, 256, (5, 7, channels), np.uint8)
    return Image.fromarray(small if channels > 1 else small[..., 0]).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoder(height: int, width: int, channels: int = 3, **arguments: Any) -> ProcessedModel:
    return with_steps(echo("UINT8", -1, height, width, channels), [step("decode_image", **arguments)])


def decoded(model: ProcessedModel, *contents: bytes) -> np.ndarray:
    return model.run({"image": np.array(contents, dtype=object)})["y"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_an_image_is_decoded_and_resized_as_by_pillow(kind: str, method: str) -> None:
    assert features.check("webp")
    content = encoded(picture(31, 47), kind)
    expected = Image.open(BytesIO(content)).convert("RGB").resize((24, 16), Image.Resampling[method.upper()])
    found = decoded(decoder(16, 24, size=[16, 24], filter=method), content)
    np.testing.assert_array_equal(found[0], np.asarray(expected))


@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 40), (16, 16), (17, 400)])
def test_the_middle_is_cut_out_once_the_shorter_side_fits(height: int, width: int) -> None:
    content = encoded(picture(height, width))
    scale = 16 / min(height, width)
    tall, wide = int(height * scale + 1e-9), int(width * scale + 1e-9)
    resized = Image.open(BytesIO(content)).resize((wide, tall), Image.Resampling.BILINEAR)
    top, left = (tall - 12) // 2, (wide - 10) // 2
    expected = np.asarray(resized)[top : top + 12, left : left + 10]
    found = decoded(decoder(12, 10, shorter_side=16, crop=[12, 10]), content)
    np.testing.assert_array_equal(found[0], expected)


def test_images_of_all_kinds_and_sizes_share_a_batch() -> None:
    images = [picture(5, 9, mode) for mode in ("RGB", "L", "RGBA")]
    found = decoded(decoder(5, 9, size=[5, 9]), *map(encoded, images))
    for row, image in enumerate(images):
        np.testing.assert_array_equal(found[row], np.asarray(image.convert("RGB")))
    grey = decoded(decoder(5, 9, 1, size=[5, 9], mode="L"), encoded(images[0]))
    np.testing.assert_array_equal(grey[0, ..., 0], np.asarray(images[0].convert("L")))


def test_an_image_is_turned_upright() -> None:
    image, exif = picture(6, 8), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    found = decoded(decoder(8, 6, size=[8, 6]), encoded(image, "PNG", exif=exif))
    np.testing.assert_array_equal(found[0], np.rot90(np.asarray(image), -1))


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    chunks = (struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


JPEG = encoded(picture(64, 64), "JPEG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got 0 bytes that begin with b'', expected an image: JPEG, PNG, WEBP"),
        (b"GIF89a" + bytes(100), "begin with b'GIF89a.*', expected an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "expected an image: JPEG, PNG, WEBP"),
        (JPEG[: len(JPEG) // 2], r"got an image that is damaged \(image file is truncated.*, expected a whole one"),
        (png_that_claims(50_000, 50_000), "got an image of 50000 x 50000 pixels, expected at most 64000000 in all"),
        (png_that_claims(64, 64), "got an image that is damaged"),
        (
            encoded(picture(1, 30_000)),
            "got an image of 7680000 x 256 pixels once its shorter side is 256, expected at most 5000000",
        ),
    ],
    ids=["nothing", "another format", "code", "cut off", "bomb", "lies", "elongated"],
)
def test_what_is_no_image_is_refused_and_says_so(content: bytes, message: str) -> None:
    limit = {"max_pixels": 5_000_000} if "once" in message else {}
    model = decoder(16, 16, shorter_side=256, crop=[16, 16], **limit)
    with pytest.raises(InputError, match=message) as caught:
        decoded(model, JPEG, content, JPEG)
    assert caught.value.rows.keys() == {1}
    assert "0x" not in str(caught.value)


def test_every_wrong_row_is_found_at_once() -> None:
    with pytest.raises(InputError) as caught:
        decoded(decoder(4, 4, size=[4, 4]), b"a", JPEG, b"b")
    assert caught.value.rows.keys() == {0, 2}


def test_a_flipped_byte_is_another_picture_or_an_error_of_its_row() -> None:
    model, contents = decoder(8, 8, size=[8, 8]), [encoded(picture(20, 20), kind) for kind in ("JPEG", "PNG", "WEBP")]
    for content in contents:
        for at in range(0, len(content), max(1, len(content) // 60)):
            damaged = bytearray(content)
            damaged[at] ^= 0xFF
            with contextlib.suppress(InputError):
                assert decoded(model, bytes(damaged)).shape == (1, 8, 8, 3)
