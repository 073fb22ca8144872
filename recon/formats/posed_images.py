"""From what the formats say of posed images to `Views`: files found, sizes compared, lenses straightened.

A reader gives one `PosedImage` a frame and `views_of` does the rest, the same for all formats:

- frames whose picture is not there are left out, pictures beside them that no frame names are listed as unposed;
- where the picture has another size than its camera speaks of (a reduced copy), the camera is scaled to it; where the
  camera's sides are exchanged against it, it is turned by its EXIF orientation, and otherwise left as it is stored;
- pictures above `max_size` are reduced, those of a lens that bends lines are resampled to a pinhole's as they are read;
- masks lie where `recon.images.mask_beside` finds them, unless the format names them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped, UInt8, UInt16

from recon.distortion import Lens, resample, straightened
from recon.errors import UserError
from recon.formats.camera_poses import upward
from recon.formats.options import ViewOptions
from recon.formats.untrusted import are_coordinates, failures_named, plain
from recon.images import (
    PictureFacts,
    examine,
    have_same_shape,
    is_image,
    mask_beside,
    read_image,
    read_mask,
    read_numbers,
)
from recon.inputs import PointCloud, View, Views
from recon.slices import Label
from render.cameras import Camera

COMPANION = re.compile(r"[_.-](depth|normal|mask|alpha|disp|albedo|label|seg|conf)\w*$", re.IGNORECASE)
IMAGES = re.compile(r"images/")
REDUCED = (2, 4, 8)
NAMED = 3  # examples in a note


@dataclass(frozen=True)
class PosedImage:
    """What a format says of one image. `file` is None where it is not there; lengths are in the user's unit.

    The lens is that of the image as the format knows it; the file may have another number of pixels. `depth_unit` is
    the length that one step of the depth picture stands for.
    """

    name: str
    file: Path | None
    lens: Lens
    world_to_camera: Float64[np.ndarray, "4 4"]
    mask: Path | None = None
    labels: Path | None = None
    depth: Path | None = None
    depth_unit: float = 1e-3
    held_out: bool | None = None


@dataclass(frozen=True)
class ImageFolder:
    """Where a data set's images are. `root` is the input; names in its files may not lead out of it.

    `given` is the folder that the user named, in which images are then looked for by their whole name or its last part.
    """

    root: Path
    given: Path | None = None
    listings: dict[Path, dict[str, Path]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, root: Path, options: ViewOptions) -> ImageFolder:
        """The folder of the options, or the data set itself.

        Raises:
            UserError: the folder that the options name is not there.
        """
        given = None if options.images is None else Path(options.images)
        if given is not None and not given.is_dir():
            raise UserError(f"--images {given}: there is no such folder")
        return cls(root, given)

    def find(self, name: str, folders: Sequence[str] = ("",), suffixes: Sequence[str] = ("",)) -> Path | None:
        """The file of that name, with one of the suffixes appended, in one of the folders under `root`; where an
        `images/` is not there, its reduced copies `images_2/`, `images_4/` and `images_8/` are looked at. A path of
        another machine is looked for by its last parts.

        Upper and lower case are told apart only where both are there.

        Raises:
            UserError: the name leads out of the data set, and its last parts are not there.
        """
        relative = name.replace("\\", "/").removeprefix("./")
        absolute = PureWindowsPath(name).is_absolute() or relative.startswith("/")
        parts = PurePosixPath(relative).parts[absolute:]  # without the root or the drive
        tails = ["/".join(parts[start:]) for start in range(len(parts)) if ".." not in parts[start:]]
        if self.given is not None:
            return self._first([self.given / tail for tail in tails], suffixes)
        if absolute:
            elsewhere = [self.root / folder / tail for tail in tails for folder in folders]
            if (found := self._first(elsewhere, suffixes)) is not None:
                return found
        wanted = [f"{folder}/{relative}" if folder else relative for folder in folders]
        copies = [IMAGES.sub(f"images_{k}/", one) for k in REDUCED for one in wanted if IMAGES.match(one)]
        places = [inside(self.root, one) for one in [*wanted, *copies]]
        return self._first([place for place in places if place != self.root], suffixes)

    def _first(self, places: Sequence[Path], suffixes: Sequence[str]) -> Path | None:
        """The first of the places, with one of the suffixes appended, that is a file."""
        files = [place.with_name(place.name + s) for place in places for s in suffixes]
        return next((found for found in map(self._spelled, files) if found is not None), None)

    def _spelled(self, file: Path) -> Path | None:
        """The file as it is spelled on disk, if it is there."""
        if file.is_file():
            return file
        if file.parent not in self.listings:
            self.listings[file.parent] = {one.name.lower(): one for one in files_in(file.parent)}
        return self.listings[file.parent].get(file.name.lower())

    def name_of(self, file: Path) -> str:
        """The file's path relative to the input, or to the folder that the user named."""
        for base in (self.root, self.given):
            if base is not None and file.is_relative_to(base):
                return file.relative_to(base).as_posix()
        return file.name


def inside(root: Path, relative: str) -> Path:
    """The path of a name that a data set's file gives, which may be absolute as long as it lies in `root`.

    Raises:
        UserError: it leads out of `root`.
    """
    base = os.path.abspath(root)  # what is relative may begin with .., and seems to lie in . then
    path = Path(os.path.abspath(os.path.join(root, relative)))
    if not path.is_relative_to(base) or "\0" in relative:
        raise UserError(
            f"{root}: names the file {plain(relative)}, which lies outside the data set; "
            "put its images in this folder, or name theirs with --images"
        )
    return root / path.relative_to(base)


def views_of(
    path: Path,
    images: Sequence[PosedImage],
    options: ViewOptions,
    *,
    points: PointCloud | None = None,
    labels: tuple[Label, ...] = (),
    unit: str = "unknown",
    up: tuple[float, float, float] | None = None,
    notes: Iterable[str] = (),
    passed_over: Iterable[Path | None] = (),
) -> Views:
    """The views of a data set whose files have been read.

    `up` is estimated from the cameras where the format does not know it (None). `passed_over` are images that have a
    pose and are left out on purpose: they do not count as images without one.

    Raises:
        UserError: no image is there, two frames name one image, a picture or a camera is unsound or they do not fit.
    """
    there = [image for image in images if image.file is not None]
    if not there:
        listed = f"the first is {plain(images[0].name)}" if images else "none is listed"
        raise UserError(
            f"{path}: none of its {len(images)} images is there ({listed}); name their folder with --images"
        )
    there.sort(key=lambda image: image.name)
    for one, next_one in zip(there, there[1:], strict=False):
        if one.name == next_one.name:
            raise UserError(f"{path}: lists the image {plain(one.name)} twice; an image has one camera")
    told = list(notes)
    if missing := [image.name for image in images if image.file is None]:
        told.append(f"{len(missing)} of {len(images)} listed images are not there and are left out: {some(missing)}.")
    frames = [_frame(image, options.max_size) for image in there]
    told += _size_notes(there, frames)
    unposed = _unposed(path, there, set(passed_over))
    if unposed:
        told.append(f"{len(unposed)} images have no pose and are left out: {some(unposed)}.")
    poses = np.stack([image.world_to_camera for image in there])
    if up is None:
        up = upward(poses, None if points is None else points.points)
        told.append(f"Up is estimated from the cameras: {', '.join(f'{axis:.2f}' for axis in up)} (--up tells it).")
    return Views(tuple(f.view() for f in frames), points, labels, tuple(unposed), unit, up, tuple(told))


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(plain(name, 60) for name in names[:NAMED]) + more


@dataclass(frozen=True)
class _Frame:
    """One view's files and how they become pictures of the view's pinhole camera.

    `lens` is that of the picture at the size that it is reduced to, `pinhole` that of the view.
    """

    image: PosedImage
    facts: PictureFacts
    upright: bool
    lens: Lens
    pinhole: Lens

    @property
    def size(self) -> tuple[int, int]:
        return self.lens.width, self.lens.height

    def view(self) -> View:
        """The view, its pictures yet to be read."""
        image, to = self.image, self.pinhole
        return View(
            name=image.name,
            camera=Camera(image.world_to_camera, to.intrinsics, to.width, to.height),
            image=self.read_image,
            mask=None if image.mask is None else self.read_mask,
            labels=None if image.labels is None else self.read_labels,
            depth=None if image.depth is None else self.read_depth,
            held_out=image.held_out,
        )

    def read_image(self) -> UInt8[np.ndarray, "h w _"]:
        assert self.image.file is not None
        return resample(read_image(self.image.file, self.size, self.upright), self.lens, self.pinhole)

    def read_mask(self) -> Bool[np.ndarray, "h w"]:
        assert self.image.mask is not None
        mask = read_mask(self.image.mask, self.size, self.upright)
        return resample(mask, self.lens, self.pinhole, nearest=True)

    def read_labels(self) -> UInt16[np.ndarray, "h w"]:
        assert self.image.labels is not None
        return self._numbers(self.image.labels).astype(np.uint16)

    def read_depth(self) -> Float32[np.ndarray, "h w"]:
        assert self.image.depth is not None
        depth = self._numbers(self.image.depth).astype(np.float32) * np.float32(self.image.depth_unit)
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))

    def _numbers(self, file: Path) -> Shaped[np.ndarray, "h w"]:
        values = read_numbers(file, self.size, self.upright)
        return resample(values, self.lens, self.pinhole, nearest=True)


def _frame(image: PosedImage, max_size: int) -> _Frame:
    """Compares camera and picture, and chooses the size and the pinhole of the view."""
    assert image.file is not None
    facts = examine(image.file)
    lens, upright = image.lens, False
    stored = facts.width, facts.height
    if not have_same_shape(stored, (lens.width, lens.height)):
        upright = facts.upright != stored and have_same_shape(facts.upright, (lens.width, lens.height))
        if not upright:
            raise UserError(
                f"{image.file}: has {stored[0]} x {stored[1]} pixels, its camera {lens.width} x {lens.height}; "
                "give the images that the cameras were made for, or copies of the same shape"
            )
    width, height = facts.upright if upright else stored
    reduction = min(1.0, max_size / max(width, height))
    size = max(1, round(width * reduction)), max(1, round(height * reduction))
    lens = lens.resized(*size)
    _check_lens(lens, image.file)
    mask = image.mask or mask_beside(image.file)
    mask = None if mask == image.labels else mask
    try:
        return _Frame(replace(image, mask=mask), facts, upright, lens, straightened(lens))
    except ValueError as problem:
        raise UserError(f"{image.file}: its camera model does not fit: {problem}; correct it or leave it out") from None


def _check_lens(lens: Lens, file: Path) -> None:
    """Refuses numbers that are none and focal lengths that are none."""
    bends = (*lens.shape, *lens.radial, *lens.radial_divisor, *lens.tangential, *lens.thin_prism)
    focal = lens.intrinsics[[0, 1], [0, 1]]
    if not (are_coordinates(lens.intrinsics) and are_coordinates(np.array(bends)) and (focal > 0).all()):
        raise UserError(f"{file}: the focal lengths of its camera must be positive and all its numbers finite")


def _unposed(path: Path, there: Sequence[PosedImage], passed_over: set[Path | None]) -> list[str]:
    """Pictures in the same folders that no frame names, but for companions (depth, masks) of those that are."""
    used = {image.file for image in there} | {image.mask for image in there} | {image.depth for image in there}
    used |= {image.labels for image in there} | passed_over
    folders = {image.file.parent for image in there if image.file is not None}
    root = path if path.is_dir() else path.parent
    names = []
    for file in (file for folder in sorted(folders) for file in files_in(folder)):
        if is_image(file) and file not in used and not COMPANION.search(file.stem):
            names.append(file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name)
    return names


def _size_notes(there: Sequence[PosedImage], frames: Sequence[_Frame]) -> list[str]:
    """What is told of sizes that were changed."""
    notes = []
    scaled = [f for f, i in zip(frames, there, strict=True) if _widths_differ(f, i)]
    if scaled:
        one = scaled[0]
        notes.append(
            f"{len(scaled)} images have another size than their cameras, which are scaled to them (the first from "
            f"{one.image.lens.width} x {one.image.lens.height} to {one.facts.width} x {one.facts.height} pixels)."
        )
    reduced = sum(max(f.size) < max(f.facts.width, f.facts.height) for f in frames)
    if reduced:
        notes.append(
            f"{reduced} images are reduced to {max(max(f.size) for f in frames)} pixels along the longer side."
        )
    bent = [f for f in frames if not f.lens.is_pinhole]
    if bent:
        one = bent[0]
        notes.append(
            f"{len(bent)} images are undistorted as they are read (the first from {one.size[0]} x {one.size[1]} to "
            f"{one.pinhole.width} x {one.pinhole.height} pixels)."
        )
    if turned := sum(f.upright for f in frames):
        notes.append(f"{turned} images are turned upright as their EXIF orientation says, as their cameras are.")
    return notes


def _widths_differ(frame: _Frame, image: PosedImage) -> bool:
    width = frame.facts.upright[0] if frame.upright else frame.facts.width
    return width != round(image.lens.width)


def images_in_order(folder: ImageFolder, folders: Sequence[str]) -> list[Path]:
    """The images of the first of the folders under the input that has any, sorted by name; those of the folder that the
    user named where there is one."""
    places = [folder.root / name for name in folders] if folder.given is None else [folder.given]
    found = ([file for file in files_in(place) if is_image(file)] for place in places)
    return next((images for images in found if images), [])


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, sorted; none where it is no folder.

    Raises:
        UserError: the folder may not be read.
    """
    with failures_named(folder):
        return sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
