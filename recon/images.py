"""Reading pictures: photos as 8-bit sRGB, masks, and maps of numbers (depth, labels), from files that may be damaged.

`examine` looks at a file's header alone and refuses what is no picture or too large to be one; the others decode.
Photos keep an alpha channel as straight alpha. 16-bit channels keep their upper 8 bits, palettes, grey values and CMYK
become RGB. Animated files and those of several pages give their first picture. Masks and maps may have another number
of pixels than the picture that they belong to, but have its shape.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from recon.errors import UserError
from recon.formats.untrusted import failures_named, plain

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
LARGEST = 178_000_000  # pixels: few enough for memory, and for Pillow, which refuses a little more by itself
LARGEST_SIDE = 1 << 20
COLORED = ("RGB", "RGBA", "CMYK", "YCbCr", "LAB")
MANY_COLORS = 1024  # more than label maps with smoothed edges usually have
ORIENTATION = 0x0112  # EXIF
TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
SAME_SHAPE = 0.02  # ratios of width to height closer than this are one shape, rounded to whole pixels
MASK_FOLDERS = ("masks", "mask")


class PictureFacts(NamedTuple):
    """What a picture's header says. `width` and `height` are those stored; `orientation` is EXIF's, 1 for upright."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the picture is turned as its EXIF orientation says."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)


def is_image(file: Path) -> bool:
    """Whether the name is that of a picture that can be read."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def mask_beside(file: Path) -> Path | None:
    """The mask of a picture, if there is one: `X.jpg.png`, or of the picture's stem, in `masks/` or `mask/`, which lies
    in the picture's folder or beside it."""
    places = [folder / masks for folder in (file.parent, file.parent.parent) for masks in MASK_FOLDERS]
    masks = [place / name for place in places for name in (f"{file.name}.png", f"{file.stem}.png")]
    return next((mask for mask in masks if mask.is_file() and mask != file), None)


def may_be_sides(width: float, height: float) -> bool:
    """Whether a picture may have so many pixels across and down, by what a file says of it."""
    return 1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE


def have_same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two pictures of these widths and heights may be copies of one, in different numbers of pixels."""
    return abs(size[0] * other[1] - size[1] * other[0]) < SAME_SHAPE * size[1] * other[0]


def examine(file: Path) -> PictureFacts:
    """Size and orientation of a picture, from its header.

    Raises:
        UserError: it is missing, no picture, or larger than `LARGEST`.
    """
    with opened(file) as image:
        return facts_in(image)


def facts_in(image: Image) -> PictureFacts:
    """Size and orientation of an opened picture."""
    orientation = exif_in(image).get(ORIENTATION, 1)
    return PictureFacts(*image.size, orientation if orientation in range(1, 9) else 1)


def exif_in(image: Image) -> Exif:
    """EXIF of an opened picture, as far as it stands before the pixels: behind those of a PNG file Pillow finds it by
    decoding them. Its directories are to be read while the picture is open."""
    from PIL.Image import Exif

    return Exif() if image.format == "PNG" and "exif" not in image.info else image.getexif()


def has_many_colors(file: Path) -> bool:
    """Whether it is a sound picture in colour with more colours than label maps have, as photos are."""
    try:
        with opened(file) as image:
            return image.mode in COLORED and image.getcolors(MANY_COLORS) is None
    except UserError:  # who reads it will say what is wrong with it
        return False


def read_image(file: Path, size: tuple[int, int] | None = None, upright: bool = False) -> UInt8[np.ndarray, "h w _"]:
    """A photo's pixels: RGB, or RGBA with straight alpha where the file has transparency.

    `size` is (width, height) to resample to, of the picture as it is returned; `upright` turns it by its EXIF
    orientation first.

    Raises:
        UserError: as `examine`, or the file is damaged or cut short.
    """
    from PIL.Image import Resampling
    from PIL.ImageOps import exif_transpose

    with opened(file) as image:
        picture = _as_rgb(exif_transpose(image) if upright else image)
        if size is not None and size != picture.size:
            picture = picture.resize(size, Resampling.LANCZOS)  # weighs colours by their alpha
        return np.array(picture)


def read_mask(file: Path, size: tuple[int, int] | None = None, upright: bool = False) -> Bool[np.ndarray, "h w"]:
    """True where the mask is more than half white, or more than half opaque where it has alpha and is of one colour.

    A mask whose values are 0 and 1 counts 1 as white. `size` and `upright` are as for `read_image`.

    Raises:
        UserError: as `read_image`, or the mask has another shape.
    """
    from PIL import Image
    from PIL.ImageOps import exif_transpose

    with opened(file) as stored:
        image = exif_transpose(stored) if upright else stored
        _check_shape(file, image, size)
        values = _mask_values(image)
    if values.max(initial=0) == 1:
        values = values * np.uint8(255)
    if size is not None and size != values.shape[::-1]:
        values = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
    return values > 127


def read_numbers(file: Path, size: tuple[int, int] | None = None, upright: bool = False) -> Shaped[np.ndarray, "h w"]:
    """A picture's values as numbers: depth, labels, palette indices. `size` takes for each pixel the nearest one.

    Raises:
        UserError: as `read_image`, or the picture has another shape or several channels that differ.
    """
    from PIL import Image
    from PIL.ImageOps import exif_transpose

    with opened(file) as stored:
        image = exif_transpose(stored) if upright else stored
        _check_shape(file, image, size)
        if size is not None and size != image.size:
            image = image.resize(size, Image.Resampling.NEAREST)
        values = np.array(image)
    if values.ndim == 3:
        if (values[..., :3] != values[..., :1]).any():
            raise UserError(f"{file}: holds colours; a map of depth or labels has one channel of numbers")
        values = values[..., 0]
    return values


def _check_shape(file: Path, image: Image, size: tuple[int, int] | None) -> None:
    """Refuses to stretch a mask or a map."""
    if size is not None and not have_same_shape(image.size, size):
        raise UserError(
            f"{file}: has {image.width} x {image.height} pixels, its photo {size[0]} x {size[1]}; "
            "save it in the shape in which the photo is shown"
        )


@contextmanager
def opened(file: Path) -> Iterator[Image]:
    """The opened picture, not decoded yet, its size checked.

    Raises:
        UserError: as `examine`, or the block meets what is damaged.
    """
    from PIL import Image

    problems = (SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError)
    with failures_named(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags, and of sizes that are checked below
        try:
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > LARGEST:
                    raise Image.DecompressionBombError
                yield image
        except Image.UnidentifiedImageError as problem:
            raise UserError(f"{file}: is no picture that can be read; JPEG, PNG, TIFF, WebP and BMP can") from problem
        except Image.DecompressionBombError as problem:
            raise UserError(f"{file}: has more pixels than are read of a picture, {LARGEST:,}; reduce it") from problem
        except problems as problem:
            raise UserError(f"{file}: is no sound picture ({plain(problem).rstrip('.')}); save it anew") from problem


def _as_rgb(image: Image) -> Image:
    """RGB or RGBA of a picture of any mode."""
    from PIL import Image as images

    if image.mode.startswith("I") or image.mode == "F":
        return images.fromarray(_upper_bytes(np.asarray(image))).convert("RGB")
    return image.convert("RGBA" if is_transparent(image) else "RGB")


def is_transparent(image: Image) -> bool:
    """Whether an opened picture has alpha, or a colour that stands for none."""
    return image.mode in ("LA", "La", "PA", "RGBa", "RGBA") or "transparency" in image.info


def _mask_values(image: Image) -> UInt8[np.ndarray, "h w"]:
    """White is 255; where all colours are the same and alpha is there, opaque is."""
    if image.mode.startswith("I") or image.mode == "F":
        return _upper_bytes(np.asarray(image))
    if image.mode in ("LA", "RGBA"):
        grey, alpha = np.asarray(image.convert("LA")).transpose(2, 0, 1)
        return alpha if (grey[alpha > 0] == grey[alpha > 0][:1]).all() else np.where(alpha > 127, grey, 0)
    return np.asarray(image.convert("L"))


def _upper_bytes(values: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Grey values of 16 bits, or of floats in [0, 1], as 8 bits."""
    if values.dtype.kind == "f":
        return (np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)
    if values.max(initial=0) <= 255:
        return values.astype(np.uint8)
    return (np.clip(values, 0, 65535) // 256).astype(np.uint8)
