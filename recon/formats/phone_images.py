"""Pictures as phones and cameras keep them: HEIC (pillow-heif) and raw sensor data (rawpy). Both come with the extra
`relief[phone]`; nothing of it is imported before such a file is met."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from recon.errors import UserError
from recon.formats.exif import ShotFacts, shot_facts
from recon.formats.untrusted import failures_named, plain
from recon.images import LARGEST

HEIC = (".heic", ".heif", ".hif")
RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw")
SUFFIXES = HEIC + RAW
LYING = 4  # bit of LibRaw's flip that says that the camera was held upright


def examine(file: Path) -> tuple[tuple[int, int], ShotFacts]:
    """Width and height of the upright picture, and what its EXIF says of it at that size; nothing is decoded.

    Raises:
        UserError: the extra is not installed, or the file is damaged or too large.
    """
    if file.suffix.lower() in HEIC:
        with _heif(file) as picture:
            width, height = picture.size
            facts = _facts_of_heif(picture.info.get("exif") or b"", width, height)
    else:
        with _raw(file) as raw:
            width, height = raw.sizes.iwidth, raw.sizes.iheight
            if raw.sizes.flip & LYING:
                width, height = height, width
        facts = _facts_of_raw(file, width, height)
    if width * height > LARGEST:
        raise UserError(f"{file}: {width} x {height} pixels are more than a camera takes")
    return (width, height), facts


def read_image(file: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "h w _"]:
    """The upright picture as RGB (or RGBA), resampled to (width, height); raw data developed with the camera's white.

    Raises:
        UserError: as `examine`.
    """
    from PIL import Image

    if file.suffix.lower() in HEIC:
        with _heif(file) as picture:
            image = picture.to_pillow()
    else:
        with _raw(file) as raw:
            image = Image.fromarray(raw.postprocess(use_camera_wb=True, output_bps=8))
    return np.array(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS))


@contextmanager
def _heif(file: Path) -> Iterator[Any]:
    """The opened HEIC file; the library turns its picture upright."""
    library = _library("pillow_heif", file)
    try:
        with failures_named(file):
            yield library.open_heif(file)
    except (ValueError, RuntimeError, SyntaxError) as problem:
        raise UserError(f"{file}: is no sound HEIC picture ({plain(problem)}); export it as JPEG") from problem


@contextmanager
def _raw(file: Path) -> Iterator[Any]:
    library = _library("rawpy", file)
    try:
        with failures_named(file), library.imread(str(file)) as raw:
            yield raw
    except library.LibRawError as problem:
        raise UserError(f"{file}: is no raw picture that can be developed ({plain(problem)})") from problem


def _facts_of_heif(data: bytes, width: int, height: int) -> ShotFacts:
    from PIL.Image import Exif

    exif = Exif()
    exif.load(data)
    return shot_facts(exif, width, height)


def _facts_of_raw(file: Path, width: int, height: int) -> ShotFacts:
    """Most raw files are TIFF files, whose first directory leads to EXIF's; of others nothing is known."""
    from PIL.Image import Exif

    exif = Exif()
    with failures_named(file), file.open("rb") as stream:
        if stream.read(4) not in (b"II*\0", b"MM\0*"):
            return ShotFacts()
        stream.seek(0)
        exif.load_from_fp(stream)
        return shot_facts(exif, width, height)


def _library(name: str, file: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise UserError(f'{file}: is read with {name}; pip install "relief[phone]" brings it') from missing
