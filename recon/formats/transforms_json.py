"""transforms.json: the posed images of nerfstudio and instant-ngp, and those of the NeRF-synthetic scenes.

A frame's `transform_matrix` is camera to world, OpenGL axes. Intrinsics (`fl_x`, `cx`, `w`, `k1`, ..., or
`camera_angle_x`) stand at the top or with the frame, which wins. nerfstudio writes coordinates

    x_file = applied_scale * applied_transform @ x

of the coordinates x that it was given; both are undone here, for poses, depth and points.

The NeRF-synthetic layout has a file for each part of its split, `transforms_{train,val,test}.json`, and names images
without their extension. Views of `test` are held out. Those of `val` are left out where there is a `test`, and held out
where there is none; nerfstudio's `train_filenames`, `val_filenames` and `test_filenames` count alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64

from recon.distortion import Lens, pinhole
from recon.errors import UserError
from recon.formats.camera_poses import OPENGL, inverse, rigid
from recon.formats.labels import label_table
from recon.formats.options import PointOptions, ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, views_of
from recon.formats.untrusted import MAX_TEXT_BYTES, plain, read_whole
from recon.images import examine, may_be_sides
from recon.inputs import PointCloud, Views
from recon.slices import BACKGROUND, Label

SPLIT = ("train", "val", "test")
IMAGE_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".JPG", ".webp")
PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
FISHEYE = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
ARIA = "FISHEYE624"


class Intrinsics(msgspec.Struct):
    """What a frame or the file as a whole says of the camera; None where it does not."""

    camera_angle_x: float | None = None
    camera_angle_y: float | None = None
    fl_x: float | None = None
    fl_y: float | None = None
    cx: float | None = None
    cy: float | None = None
    w: float | None = None
    h: float | None = None
    k1: float | None = None
    k2: float | None = None
    k3: float | None = None
    k4: float | None = None
    p1: float | None = None
    p2: float | None = None
    distortion_params: list[float] | None = None
    camera_model: str | None = None
    is_fisheye: bool | None = None


class FrameEntry(Intrinsics, kw_only=True):
    """One frame."""

    file_path: str
    transform_matrix: list[list[float]]
    mask_path: str | None = None
    depth_file_path: str | None = None


class TransformsFile(Intrinsics, kw_only=True):
    """One file. `instances` names the values of masks that are instance labels."""

    frames: list[FrameEntry]
    applied_transform: list[list[float]] | None = None
    applied_scale: float = 1.0
    ply_file_path: str | None = None
    depth_unit_scale_factor: float = 1e-3
    instances: dict[str, str] | None = None
    train_filenames: list[str] | None = None
    val_filenames: list[str] | None = None
    test_filenames: list[str] | None = None


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a transforms.json, or of the files of a split in one folder.

    Raises:
        UserError: a file is no transforms.json, a number in it makes no sense, or its images do not fit.
    """
    folder = ImageFolder.of(path if path.is_dir() else path.parent, options)
    contents = {file: _parsed(file) for file in _files(path)}
    listed = [_posed(file, number, c, folder) for file, c in contents.items() for number in range(len(c.frames))]
    parts = [part for file, content in contents.items() for part in _parts(file, content, len(contents) > 1)]
    images, notes = _split(listed, parts)
    notes += _missing_companions(listed, contents)
    first = next(iter(contents.values()))
    undone = any(content.applied_transform is not None for content in contents.values())
    return views_of(
        folder.root,
        images,
        options,
        points=_points(folder.root, first),
        labels=_labels(first),
        up=None if undone else (0.0, 0.0, 1.0),
        unit=options.unit or "unknown",
        notes=notes,
        passed_over=[image.file for image in listed],
    )


def _files(path: Path) -> list[Path]:
    """The file itself, or of a folder those of its split, or its transforms.json."""
    if not path.is_dir():
        return [path]
    split = [path / f"transforms_{part}.json" for part in SPLIT]
    return [file for file in split if file.is_file()] or [path / "transforms.json"]


def _parsed(file: Path) -> TransformsFile:
    try:
        content = msgspec.json.decode(read_whole(file, MAX_TEXT_BYTES), type=TransformsFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise UserError(
            f"{file}: is no list of posed images as nerfstudio or Blender scenes have it ({plain(problem)})"
        ) from problem
    if not content.frames:
        raise UserError(f"{file}: lists no frames; a list of posed images has at least one")
    if not (np.isfinite(content.applied_scale) and content.applied_scale > 0):
        raise UserError(f"{file}: its applied_scale must be positive")
    return content


def _posed(file: Path, number: int, content: TransformsFile, folder: ImageFolder) -> PosedImage:
    """One frame, in the coordinates before `applied_transform` and `applied_scale`."""
    frame = content.frames[number]
    picture = folder.find(frame.file_path, suffixes=IMAGE_SUFFIXES)
    where = f"{file}: the transform_matrix of frame {number} ({plain(frame.file_path, 60)})"
    camera_to_world = rigid(_matrix(frame.transform_matrix), where) @ OPENGL
    camera_to_world[:3, 3] /= content.applied_scale
    camera_to_world = inverse(_applied(file, content)) @ camera_to_world
    mask = None if frame.mask_path is None else folder.find(frame.mask_path)
    return PosedImage(
        name=plain(frame.file_path) if picture is None else folder.name_of(picture),
        file=picture,
        lens=_lens(file, frame, content, picture),
        world_to_camera=inverse(camera_to_world),
        mask=None if content.instances else mask,
        labels=mask if content.instances else None,
        depth=None if frame.depth_file_path is None else folder.find(frame.depth_file_path),
        depth_unit=content.depth_unit_scale_factor,
    )


def _matrix(rows: list[list[float]]) -> Float64[np.ndarray, "_ _"]:
    """The rows as an array; an empty one where they differ in length."""
    return np.array(rows, np.float64) if len({len(row) for row in rows}) == 1 else np.zeros((0, 4))


def _applied(file: Path, content: TransformsFile) -> Float64[np.ndarray, "4 4"]:
    """The rotation and translation that nerfstudio has applied to the world."""
    if content.applied_transform is None:
        return np.eye(4)
    return rigid(_matrix(content.applied_transform), f"{file}: its applied_transform")


def _lens(file: Path, frame: FrameEntry, content: TransformsFile, picture: Path | None) -> Lens:
    """The lens that the frame, or else the file, describes."""

    def told(name: str) -> float:
        value = _told(frame, content, name)
        return np.nan if value is None else value

    width, height = told("w"), told("h")
    if not may_be_sides(width, height):
        width, height = examine(picture)[:2] if picture is not None else (1, 1)
    fx = told("fl_x")
    fx = width / 2 / np.tan(told("camera_angle_x") / 2) if np.isnan(fx) else fx
    fy = told("fl_y")
    fy = height / 2 / np.tan(told("camera_angle_y") / 2) if np.isnan(fy) else fy
    fx, fy = (fy if np.isnan(fx) else fx), (fx if np.isnan(fy) else fy)
    if np.isnan(fx):
        raise UserError(f"{file}: says nothing of the focal length; it needs fl_x (pixels) or camera_angle_x (radians)")
    cx, cy = (middle if np.isnan(c) else c for c, middle in ((told("cx"), width / 2), (told("cy"), height / 2)))
    straight = pinhole(int(width), int(height), fx, fy, cx, cy)
    return _distorted(file, straight, frame, content)


def _told(frame: FrameEntry, content: TransformsFile, name: str) -> Any:
    """What the frame says of its camera, or else the file."""
    value = getattr(frame, name)
    return getattr(content, name) if value is None else value


def _distorted(file: Path, lens: Lens, frame: FrameEntry, content: TransformsFile) -> Lens:
    """The lens with its camera model's distortion."""
    model = (_told(frame, content, "camera_model") or "OPENCV").upper()
    given = _told(frame, content, "distortion_params")
    if model == ARIA:  # of Project Aria, whose tangential coefficients are in the other order than OpenCV's
        k, (p0, p1), (s0, s1, s2, s3) = np.split(np.resize(given or [0.0], 12), (6, 8))
        return replace(
            lens,
            projection="equidistant",
            radial=tuple(k),
            tangential=(p1, p0),
            thin_prism=(s0, s1, s2, s3),
            radial_first=True,
        )
    if model not in PERSPECTIVE + FISHEYE:
        raise UserError(
            f"{file}: the camera model {plain(model, 40)} cannot be made a pinhole's; "
            f"it must be one of {', '.join((*PERSPECTIVE, *FISHEYE, ARIA))}"
        )
    one_by_one = [_told(frame, content, name) or 0.0 for name in ("k1", "k2", "k3", "k4", "p1", "p2")]
    k1, k2, k3, k4, p1, p2 = (*given, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)[:6] if given else one_by_one
    fisheye = model in FISHEYE or _told(frame, content, "is_fisheye")
    return replace(
        lens,
        projection="equidistant" if fisheye else "perspective",
        radial=(k1, k2, k3, k4),
        tangential=(p1, p2),
    )


def _parts(file: Path, content: TransformsFile, several: bool) -> Iterator[str | None]:
    """The part of the split that each frame is in; None where there is no split."""
    lists = {part: set(getattr(content, f"{part}_filenames") or ()) for part in SPLIT}
    own = next((part for part in SPLIT if file.name == f"transforms_{part}.json"), None) if several else None
    for frame in content.frames:
        yield next((part for part in SPLIT if frame.file_path in lists[part]), own)


def _split(images: list[PosedImage], parts: list[str | None]) -> tuple[list[PosedImage], list[str]]:
    """The images with what is held out, without those of `val` where there is a `test`."""
    if not any(parts):
        return images, []
    evaluated = "test" if "test" in parts else "val"
    pairs = zip(images, parts, strict=True)
    kept = [replace(image, held_out=part == evaluated) for image, part in pairs if part != "val" or evaluated == "val"]
    left_out = len(images) - len(kept)
    note = f"{left_out} views of the part val are left out: those of test are held out."
    return kept, [note] if left_out else []


def _missing_companions(images: list[PosedImage], contents: dict[Path, TransformsFile]) -> list[str]:
    """What is told of masks and depth pictures that are listed and not there."""
    frames = [frame for content in contents.values() for frame in content.frames]
    listed = {
        "masks": (sum(frame.mask_path is not None for frame in frames), sum(bool(i.mask or i.labels) for i in images)),
        "depth pictures": (
            sum(f.depth_file_path is not None for f in frames),
            sum(i.depth is not None for i in images),
        ),
    }
    return [
        f"{most - found} of {most} listed {what} are not there."
        for what, (most, found) in listed.items()
        if most > found
    ]


def _labels(content: TransformsFile) -> tuple[Label, ...]:
    """The labels that `instances` names; 0 is the background."""
    names = {int(value): name for value, name in (content.instances or {}).items() if value.isdecimal()}
    return label_table([value for value in names if BACKGROUND < value < 1 << 16], names)


def _points(root: Path, content: TransformsFile) -> PointCloud | None:
    """The points of `ply_file_path`, taken back as the poses are."""
    from recon.formats import ply_points

    file = None if content.ply_file_path is None else ImageFolder(root).find(content.ply_file_path)
    if file is None:
        return None
    cloud = ply_points.read(file, PointOptions())
    back = inverse(_applied(file, content))
    normals = None if cloud.normals is None else (cloud.normals @ back[:3, :3].T).astype(np.float32)
    points = cloud.points / content.applied_scale @ back[:3, :3].T + back[:3, 3]
    return replace(cloud, points=points, normals=normals)
