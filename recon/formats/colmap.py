"""COLMAP projects: a model (see `recon.formats.colmap_model`) and the folder of the images that it was made from.

The model is the input itself, or lies in `sparse/0`, `sparse`, `colmap/sparse/0` or `dense/sparse` of it; of several
models under `sparse/` the one with the most images is taken. The images are in `images/` beside the model or up to
three folders above it, or right there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.formats.colmap_model import ColmapModel, read_model
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, some, views_of
from recon.formats.untrusted import LARGEST_COORDINATE, plain
from recon.inputs import PointCloud, Views
from recon.rotations import rotation_matrices

MODEL_PLACES = ("", "sparse", "colmap/sparse", "dense/sparse")
IMAGE_FOLDERS = ("images", "")
LEVELS = 4  # of folders, from the model upward, that images may be in


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a COLMAP project or model, with the model's points.

    Raises:
        UserError: no sound model is there, or its images are not.
    """
    folder, others = _model_folder(path if path.is_dir() else path.parent)
    model = read_model(folder)
    if not model.images:
        raise UserError(f"{folder}: the model has no images; a model to build on has at least two")
    notes = [f"Of several models {folder.name} is taken, which has the most images; the others are {some(others)}."]
    points, left_out = _cloud(model, options)
    if left_out:
        notes.append(f"{left_out} points without sound coordinates are left out.")
    return views_of(
        path,
        _posed(model, _image_folder(path, folder, model, options)),
        options,
        points=points,
        unit=options.unit or "unknown",
        notes=notes if others else notes[1:],
    )


def _model_folder(root: Path) -> tuple[Path, list[str]]:
    """The folder of the model, and the names of smaller ones beside it."""
    for place in MODEL_PLACES:
        base = root / place
        numbered = sorted(base.glob("[0-9]")) + sorted(base.glob("[0-9][0-9]"))
        models = [folder for folder in (base, *numbered) if _images_file(folder) is not None]
        if models:
            largest = max(models, key=_image_count)
            return largest, [model.name for model in models if model != largest]
    raise UserError(f"{root}: holds no COLMAP model; one has the files cameras, images and points3D, .bin or .txt")


def _images_file(folder: Path) -> Path | None:
    for suffix in ("bin", "txt"):
        file = folder / f"images.{suffix}"
        if file.is_file() and (folder / f"cameras.{suffix}").is_file():
            return file
    return None


def _image_count(folder: Path) -> int:
    """How many images the model has, at most: the count that a binary one states, the lines of a text."""
    file = _images_file(folder)
    assert file is not None
    with file.open("rb") as opened:
        return int.from_bytes(opened.read(8), "little") if file.suffix == ".bin" else sum(1 for _ in opened)


def _image_folder(path: Path, folder: Path, model: ColmapModel, options: ViewOptions) -> ImageFolder:
    """The place from which most of the model's images are found."""
    root = path if path.is_dir() else path.parent
    given = ImageFolder.of(root, options)
    if given.given is not None:
        return given
    folder = folder.absolute()
    above = [folder, *folder.parents][:LEVELS]
    places = [ImageFolder(root), *(ImageFolder(place) for place in above)]
    names = [image.name for image in model.images]
    return max(places, key=lambda place: sum(place.find(name, IMAGE_FOLDERS) is not None for name in names))


def _posed(model: ColmapModel, folder: ImageFolder) -> list[PosedImage]:
    """The images with their poses."""
    rotations = rotation_matrices(np.array([image.quaternion for image in model.images]))
    posed = []
    for image, rotation in zip(model.images, rotations, strict=True):
        file = folder.find(image.name, IMAGE_FOLDERS)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, image.translation
        name = plain(image.name) if file is None else folder.name_of(file)
        posed.append(PosedImage(name, file, model.lenses[image.camera], pose))
    return posed


def _cloud(model: ColmapModel, options: ViewOptions) -> tuple[PointCloud | None, int]:
    """The model's points, and how many were unsound."""
    sound = np.array([], bool) if not len(model.points) else (np.abs(model.points) <= LARGEST_COORDINATE).all(1)
    if not sound.any():
        return None, int((~sound).sum())
    points, colors = model.points[sound], model.colors[sound]
    return PointCloud(points, colors=colors, unit=options.unit or "unknown"), int((~sound).sum())
