"""A folder of photos without cameras.

The pictures lie in the folder itself or in `images/` in it, masks where `recon.images.mask_beside` finds them. Where a
picture has alpha and no mask, what is opaque is its mask. Pictures are turned upright by their EXIF orientation and
reduced to at most `max_size` pixels along the longer side; focal lengths follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from recon import images
from recon.errors import UserError
from recon.formats import PHOTO_FOLDERS, phone_images
from recon.formats.exif import ShotFacts, shot_facts
from recon.formats.options import PhotoOptions
from recon.formats.untrusted import failures_named
from recon.inputs import Photo, Photos

NUMBER = re.compile(r"(.*?)(\d+)\D*$")
ORDERED_PART = 0.8  # of the steps from one shot's number to the next that are short
SHORT_STEP = 3
OPAQUE = 127


def read(path: Path, options: PhotoOptions) -> Photos:
    """The photos of a folder, sorted by name.

    Raises:
        UserError: there are fewer than two, one is damaged, or an extra is needed to read it.
    """
    if not path.is_dir():
        raise UserError(f"{path}: one photo shows no depth; give the folder that it lies in with the others")
    with failures_named(path):
        files = sorted(file for file in _folder_of_pictures(path).iterdir() if is_photo(file))
    if len(files) < 2:
        raise UserError(f"{path}: holds one photo; take at least two from different places, better twenty")
    shots = [_Shot.of(file, options.max_size) for file in files]
    ordered = are_numbered([file.stem for file in files])
    return Photos(tuple(shot.photo(path) for shot in shots), path, ordered, _notes(shots, options.max_size))


def is_photo(file: Path) -> bool:
    """Whether the name is that of a picture that can be read, with the extra `relief[phone]` where it needs that."""
    return images.is_image(file) or (file.suffix.lower() in phone_images.SUFFIXES and not file.name.startswith("."))


def are_numbered(stems: Sequence[str]) -> bool:
    """Whether sorted names end in numbers that count on: shots in the order in which they were taken."""
    found = [match for match in map(NUMBER.match, stems) if match]
    if len(found) < len(stems) or len({match[1] for match in found}) > 1:
        return False
    steps = np.diff([int(match[2]) for match in found])
    return bool(((steps >= 1) & (steps <= SHORT_STEP)).mean() >= ORDERED_PART)


def _folder_of_pictures(path: Path) -> Path:
    """The folder itself where pictures lie in it, else the one in it that they usually lie in."""
    for folder in (path, *(path / name for name in PHOTO_FOLDERS)):
        if folder.is_dir() and any(is_photo(file) for file in folder.iterdir()):
            return folder
    raise UserError(f"{path}: holds no photos, nor a folder images with photos in it")


@dataclass(frozen=True)
class _Shot:
    """A picture's file, its mask's, and the upright size that it is reduced to; `transparent` where it has alpha."""

    file: Path
    mask: Path | None
    size: tuple[int, int]
    reduced: bool
    transparent: bool
    facts: ShotFacts

    @classmethod
    def of(cls, file: Path, max_size: int) -> _Shot:
        """Looks at a picture's header."""
        transparent = False
        if images.is_image(file):
            with images.opened(file) as picture:
                full = images.facts_in(picture).upright
                transparent = images.is_transparent(picture)
                facts = shot_facts(images.exif_in(picture), *full)
        else:
            full, facts = phone_images.examine(file)
        reduction = min(1.0, max_size / max(full))
        width, height = (max(1, round(side * reduction)) for side in full)
        if facts.focal is not None:
            facts = facts._replace(focal=facts.focal * max(width, height) / max(full))
        return cls(file, images.mask_beside(file), (width, height), reduction < 1, transparent, facts)

    def photo(self, root: Path) -> Photo:
        """The photo, its pictures yet to be read."""
        mask = self.read_mask if self.mask is not None else self.read_opacity if self.transparent else None
        name = self.file.relative_to(root).as_posix()
        return Photo(name, *self.size, self.read_image, mask, *self.facts)

    def read_image(self) -> UInt8[np.ndarray, "h w _"]:
        if images.is_image(self.file):
            return images.read_image(self.file, self.size, upright=True)
        return phone_images.read_image(self.file, self.size)

    def read_mask(self) -> Bool[np.ndarray, "h w"]:
        assert self.mask is not None
        return images.read_mask(self.mask, self.size, upright=True)

    def read_opacity(self) -> Bool[np.ndarray, "h w"]:
        pixels = self.read_image()
        return pixels[..., 3] > OPAQUE if pixels.shape[2] == 4 else np.ones(pixels.shape[:2], bool)


def _notes(shots: Sequence[_Shot], max_size: int) -> tuple[str, ...]:
    """What is told of how the photos were understood."""
    notes = []
    if reduced := sum(shot.reduced for shot in shots):
        notes.append(f"{reduced} photos are reduced to {max_size} pixels along the longer side.")
    masked = sum(shot.mask is not None for shot in shots)
    if masked:
        notes.append(f"{masked} of {len(shots)} photos have a mask.")
    if not any(shot.facts.focal for shot in shots):
        notes.append("No photo tells its focal length; it is estimated.")
    return tuple(notes)
