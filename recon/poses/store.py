"""What is kept of structure from motion, so that it is done once.

    sparse/       the model in the user's coordinates: cameras.bin, images.bin, points3D.bin, as COLMAP writes them
    poses.json    of which photos it is, what the coordinates are, and the report

poses.json is written last; where it is there and speaks of the same photos, all is there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from recon.files import replacing
from recon.inputs import Photos
from recon.poses.report import PoseReport

if TYPE_CHECKING:
    import pycolmap

MODEL = "sparse"
FACTS = "poses.json"
VERSION = 1
MODEL_FILES = ("cameras.bin", "images.bin", "points3D.bin")


class PoseFacts(msgspec.Struct, frozen=True):
    """poses.json. `digest` is of the photos, `origin` the longitude, latitude and altitude of the point (0, 0, 0)."""

    version: int
    digest: str
    seed: int
    unit: str
    origin: tuple[float, float, float] | None
    report: PoseReport


def digest_of(photos: Photos) -> str:
    """SHA-256 of what decides the cameras: the pictures' files, their masks, what is known of them and their order."""
    total = hashlib.sha256(str(photos.ordered).encode())
    folder = photos.source.is_dir()
    if not folder:
        total.update(_file_digest(photos.source))
    for photo in photos.photos:
        known = photo.name, photo.width, photo.height, photo.focal, photo.position, photo.model
        total.update(repr(known).encode())
        if folder:
            total.update(_file_digest(photos.source / photo.name))
        if photo.mask is not None:
            total.update(np.packbits(photo.mask()).tobytes())
    return total.hexdigest()


def _file_digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def kept_facts(folder: Path) -> PoseFacts | None:
    """What the folder's poses.json says; None where there is none that this version wrote."""
    try:
        facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=PoseFacts)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    whole = all((folder / MODEL / name).is_file() for name in MODEL_FILES)
    return facts if facts.version == VERSION and (whole or facts.report.registered == 0) else None


def keep(model: pycolmap.Reconstruction | None, facts: PoseFacts, folder: Path) -> None:
    """Writes the model, if any, and then poses.json, each under its name only when it is whole."""
    (folder / FACTS).unlink(missing_ok=True)
    if model is not None:
        _write_model(model, folder)
    with replacing(folder / FACTS) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(facts)))


def _write_model(model: pycolmap.Reconstruction, folder: Path) -> None:
    with replacing(folder / MODEL) as partial:
        partial.mkdir()
        model.write_binary(partial)
        for file in partial.iterdir():  # newer versions of COLMAP add two that its older readers do not know
            if file.name not in MODEL_FILES:
                file.unlink()
