"""Stacks of images: a folder of PNG or TIFF files in natural order, or one TIFF of several pages.

Pixel (column i, row j) of slice k stands at (i, j, k) times the spacing: x to the right, y down, z into the stack. Grey
values and palette indices are label ids; in RGB images every colour is a label, black and transparent the background.

The spacing is the user's --spacing; else a TIFF's resolution, and for the slices ImageJ's `spacing` and `unit`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.label_map import as_label_ids, check_shape, label_sections
from recon.formats.labels import Color, color_from_bytes
from recon.formats.untrusted import GZIP_MAX_RATIO, check_promise, failures_named, plain
from recon.inputs import CrossSections

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".tif", ".tiff")
VALUE_MODES = ("1", "L", "P", "I;16", "I;16B", "I", "F")
COLOR_MODES = ("RGB", "RGBA", "LA")
MAX_COLORS = 256
TIFF_MAX_RATIOS = {"raw": 1, "packbits": 128, "tiff_lzw": 4096, "tiff_adobe_deflate": 1032, "tiff_deflate": 1032}
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, DESCRIPTION = 282, 283, 296, 270  # tags of TIFF
TIFF_MILLIMETRES = {2: 25.4, 3: 10.0}  # ResolutionUnit: inch, centimetre
IMAGEJ_MILLIMETRES = {
    **dict.fromkeys(("nm", "nanometer"), 1e-6),
    **dict.fromkeys(("um", "µm", "\\u00B5m", "micron", "microns", "micrometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1.0),
    **dict.fromkeys(("cm", "centimeter"), 10.0),
    **dict.fromkeys(("m", "meter"), 1e3),
    **dict.fromkeys(("in", "inch"), 25.4),
}


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The slices of an image stack as a label volume of (columns, rows, slices).

    Raises:
        UserError: fewer than two slices, images of different sizes or kinds, a damaged file, pictures instead of
            labels, or a spacing that is not positive.
    """
    files = _files(path)
    with _opened(files[0]) as first:
        slices = _page_count(first) if len(files) == 1 else len(files)
        if slices < 2:
            raise UserError(f"{path}: holds one image; a stack is a folder of at least two, or a TIFF of several pages")
        shape = (*first.size, slices)
        colored = first.mode in COLOR_MODES
        palette = _palette(first)
        spacing, unit, notes = _spacing(first, options)
    check_shape(path, shape)
    voxels = np.zeros(shape, np.uint32 if colored else np.uint16, order="F")
    for index, page in enumerate(_pages(files)):
        ids = _packed_colors(page) if colored else as_label_ids(path, np.asarray(page))
        if ids.dtype.itemsize > voxels.dtype.itemsize:
            voxels = voxels.astype(ids.dtype)
        voxels[:, :, index] = ids.T
    names: dict[int, str] = {}
    if colored:
        voxels, names, palette = _index_colors(path, voxels)
    affine = np.diag([*spacing, 1.0])
    return label_sections(path, voxels, affine, options, names=names, colors=palette, unit=unit, notes=notes)


def _files(path: Path) -> list[Path]:
    """The images of a folder in natural order (slice 2 before slice 10), or the file itself."""
    if not path.is_dir():
        return [path]
    files = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if len({file.suffix.lower()[:4] for file in files}) > 1:
        raise UserError(f"{path}: holds PNG and TIFF files; a stack is of one kind, leave the other one's files out")
    return sorted(files, key=lambda file: [int(run) if run.isdigit() else run for run in re.split(r"(\d+)", file.name)])


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """The opened image; every failure of its decoder is one sentence."""
    from PIL import Image

    try:
        with failures_named(file), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags; what is used of them is checked
            with Image.open(file, formats=("PNG", "TIFF")) as image:
                yield image
    except (SyntaxError, ValueError, TypeError, KeyError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{file}: is not a sound PNG or TIFF image ({plain(error).rstrip('.')}); save it anew"
        ) from error


def _page_count(image: Image) -> int:
    return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1


def _pages(files: list[Path]) -> Iterator[Image]:
    """The slices one after the other, each checked to be of the first one's size, mode and palette."""
    expected = None
    for file in files:
        with _opened(file) as image:
            pages = _page_count(image)
            if len(files) > 1 and pages > 1:
                raise UserError(f"{file}: has {pages} pages; in a folder every image is one slice")
            for page in range(pages):
                image.seek(page)
                _check_size(file, image)
                found = (image.size, image.mode, _palette(image))
                expected = expected or found
                if found != expected:
                    raise UserError(
                        _difference(f"{file}" + (f", page {page + 1}" if pages > 1 else ""), found, expected)
                    )
                image.load()  # decodes here, where a failure is caught
                yield image


def _check_size(file: Path, image: Image) -> None:
    """Refuses an image whose decoder is unknown or that promises more pixels than its file can hold."""
    if image.mode not in VALUE_MODES + COLOR_MODES:
        raise UserError(
            f"{file}: its pixels are {image.mode}; labels come as grey values, palette indices or RGB colours"
        )
    bits = {"1": 1, "L": 8, "P": 1, "RGB": 24, "RGBA": 32, "LA": 16}.get(image.mode, 16)
    ratio = GZIP_MAX_RATIO if image.format == "PNG" else TIFF_MAX_RATIOS.get(image.info.get("compression", ""))
    if ratio is not None:
        check_promise(file, image.size[0] * image.size[1] * bits // 8, file.stat().st_size, ratio)


def _difference(place: str, found: tuple, expected: tuple) -> str:
    """What the first image has and this one has not, as a sentence."""
    for what, mine, first in zip(("size", "mode", "palette"), found, expected, strict=True):
        if mine != first:
            stated = "" if what == "palette" else f" ({mine} against {first})"
            return f"{place}: its {what} differs from the first image's{stated}; all slices of a stack should agree"
    raise AssertionError("the images agree")


def _palette(image: Image) -> dict[int, Color]:
    """The colours of a palette image by index."""
    if image.mode != "P":
        return {}
    channels = np.array(image.getpalette("RGB") or [], np.float64).reshape(-1, 3)
    return {index: color_from_bytes(color) for index, color in enumerate(channels)}


def _packed_colors(page: Image) -> Shaped[np.ndarray, "rows columns"]:
    """Each pixel's colour as 0xRRGGBB, transparent ones 0."""
    red, green, blue, alpha = np.moveaxis(np.asarray(page.convert("RGBA"), np.uint32), 2, 0)
    return np.where(alpha > 0, red << 16 | green << 8 | blue, np.uint32(0))


def _index_colors(
    path: Path, packed: Shaped[np.ndarray, "nx ny nz"]
) -> tuple[Shaped[np.ndarray, "nx ny nz"], dict[int, str], dict[int, Color]]:
    """Labels 1, 2, ... for the colours that occur, named by them ("#ff8000").

    Raises:
        UserError: there are too many colours for labels.
    """
    colors = np.zeros(1, np.uint32)
    for index in range(packed.shape[2]):
        colors = np.union1d(colors, packed[:, :, index])
        if len(colors) > MAX_COLORS:
            raise UserError(
                f"{path}: holds more than {MAX_COLORS} colours: a picture, or a mask with smoothed (anti-aliased) "
                "edges; save labels in flat colours, or as grey values"
            )
    voxels = np.empty(packed.shape, np.uint16, order="F")
    for index in range(packed.shape[2]):
        voxels[:, :, index] = np.searchsorted(colors, packed[:, :, index])
    written = {label: int(color).to_bytes(3) for label, color in enumerate(colors) if label}
    names = {label: f"#{color.hex()}" for label, color in written.items()}
    return voxels, names, {label: color_from_bytes(color) for label, color in written.items()}


def _spacing(first: Image, options: SliceOptions) -> tuple[tuple[float, float, float], str, tuple[str, ...]]:
    """Column, row and slice step, their unit, and where they come from if not from the user."""
    if options.spacing is not None:
        if not all(np.isfinite(side) and side > 0 for side in options.spacing):
            raise UserError(f"--spacing {' '.join(map(str, options.spacing))}: the three steps must be positive")
        return options.spacing, options.unit or "unknown", ()
    tags = getattr(first, "tag_v2", {})
    column, row = (1 / float(tags.get(tag, 0) or np.nan) for tag in (X_RESOLUTION, Y_RESOLUTION))
    if not (0 < column < np.inf and 0 < row < np.inf):
        note = "The images state no spacing; voxels are taken as cubes of side 1 (--spacing gives the true one)."
        return (1.0, 1.0, 1.0), options.unit or "unknown", (note,)
    description = str(tags.get(DESCRIPTION, ""))
    imagej = dict(re.findall(r"^(\w+)=(.*?)\s*$", description, re.MULTILINE)) if "ImageJ=" in description else {}
    factor = IMAGEJ_MILLIMETRES.get(imagej.get("unit", "")) or TIFF_MILLIMETRES.get(tags.get(RESOLUTION_UNIT, 2))
    step, assumed = _slice_step(imagej.get("spacing"), column)
    sides = (column, row, step) if factor is None else (column * factor, row * factor, step * factor)
    unit = (options.unit or "unknown") if factor is None else "mm"
    note = f"Spacing {' x '.join(f'{side:.6g}' for side in sides)} {unit} from the TIFF's resolution{assumed}."
    return sides, unit, (note,)


def _slice_step(stated: str | None, column: float) -> tuple[float, str]:
    """ImageJ's slice step, or the column step and the words that say so."""
    try:
        step = float(stated or "")
    except ValueError:
        step = 0.0
    if 0 < step < np.inf:
        return step, ""
    return (
        column,
        ", which says nothing of the step between slices: the pixels' is taken (--spacing gives the true one)",
    )
