"""OpenSfM and ODM: `reconstruction.json`, its images in `images/` beside it or, of ODM, beside its folder `opensfm/`.

A shot's `rotation` (axis times angle) and `translation` lead from the world to the camera, OpenCV axes. Lengths in a
picture are in parts of its longer side, from its middle: u = size (focal x + c_x) + width / 2. The world is in metres,
east, north and up, around `reference_lla` where there is one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from recon.distortion import Lens, pinhole
from recon.errors import UserError
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, views_of
from recon.formats.untrusted import LARGEST_COORDINATE, are_coordinates, plain, read_whole
from recon.images import may_be_sides
from recon.inputs import PointCloud, Views

LARGEST_FILE = 1 << 30
FOLDERS = ("images", "opensfm/images", "")
PROJECTIONS = ("perspective", "simple_radial", "radial", "brown", "fisheye", "fisheye_opencv", "fisheye62")


class CameraEntry(msgspec.Struct):
    """A camera; which of the numbers count, its projection says."""

    projection_type: str
    width: int
    height: int
    focal: float | None = None
    focal_x: float | None = None
    focal_y: float | None = None
    c_x: float = 0.0
    c_y: float = 0.0
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    k5: float = 0.0
    k6: float = 0.0
    p1: float = 0.0
    p2: float = 0.0


class Shot(msgspec.Struct):
    """A registered image."""

    rotation: tuple[float, float, float]
    translation: tuple[float, float, float]
    camera: str


class TrackedPoint(msgspec.Struct):
    """A point of the sparse cloud."""

    coordinates: tuple[float, float, float]
    color: tuple[float, float, float] = (128.0, 128.0, 128.0)


class Reconstruction(msgspec.Struct):
    """One connected part of what was reconstructed."""

    cameras: dict[str, CameraEntry]
    shots: dict[str, Shot]
    points: dict[str, TrackedPoint] = {}
    reference_lla: dict[str, float] | None = None


def read(path: Path, options: ViewOptions) -> Views:
    """The views of the reconstruction with the most shots, with its points.

    Raises:
        UserError: the file is no reconstruction, a camera in it cannot be used, or its images are not there.
    """
    file = _file(path)
    folder = ImageFolder.of(file.parent.parent if file.parent.name == "opensfm" else file.parent, options)
    try:
        parts = msgspec.json.decode(read_whole(file, LARGEST_FILE), type=list[Reconstruction])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise UserError(f"{file}: is no reconstruction of OpenSfM ({plain(problem)})") from problem
    if not any(part.shots for part in parts):
        raise UserError(f"{file}: has no shots; a reconstruction has images with poses")
    largest = max(parts, key=lambda part: len(part.shots))
    notes = [f"Of {len(parts)} parts the one with the most shots is taken, {len(largest.shots)} of them."]
    lenses = {name: _lens(file, name, camera) for name, camera in largest.cameras.items()}
    metric = largest.reference_lla is not None
    return views_of(
        folder.root,
        [_posed(file, name, shot, lenses, folder) for name, shot in largest.shots.items()],
        options,
        points=_cloud(largest, "m" if metric else options.unit or "unknown"),
        unit="m" if metric else options.unit or "unknown",
        up=(0.0, 0.0, 1.0) if metric else None,
        notes=notes if len(parts) > 1 else (),
    )


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    inner = path / "opensfm" / "reconstruction.json"
    return inner if inner.is_file() else path / "reconstruction.json"


def _lens(file: Path, name: str, camera: CameraEntry) -> Lens:
    """The lens of a camera, in pixels."""
    kind = camera.projection_type
    if kind not in PROJECTIONS:
        raise UserError(
            f"{file}: the camera {plain(name, 60)} is of the projection {plain(kind, 30)}, which cannot be made a "
            f"pinhole's; it must be one of {', '.join(PROJECTIONS)}"
        )
    fx, fy = camera.focal_x or camera.focal or 0.0, camera.focal_y or camera.focal_x or camera.focal or 0.0
    width, height = camera.width, camera.height
    if not (may_be_sides(width, height) and fx > 0 and fy > 0):
        raise UserError(f"{file}: width, height and focal length of the camera {plain(name, 60)} must be positive")
    size = max(width, height)
    cx, cy = size * camera.c_x + width / 2, size * camera.c_y + height / 2
    straight = pinhole(width, height, size * fx, size * fy, cx, cy)
    radial = (camera.k1, camera.k2, camera.k3, camera.k4, camera.k5, camera.k6)
    projection = "equidistant" if kind.startswith("fisheye") else "perspective"
    return replace(straight, projection=projection, radial=radial, tangential=(camera.p1, camera.p2))


def _posed(file: Path, name: str, shot: Shot, lenses: dict[str, Lens], folder: ImageFolder) -> PosedImage:
    from scipy.spatial.transform import Rotation

    if shot.camera not in lenses:
        raise UserError(f"{file}: the shot {plain(name, 60)} is of a camera that the file does not describe")
    numbers = np.array([*shot.rotation, *shot.translation])
    if not are_coordinates(numbers):
        raise UserError(f"{file}: the pose of the shot {plain(name, 60)} is not finite")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(numbers[:3]).as_matrix(), numbers[3:]
    picture = folder.find(name, FOLDERS)
    return PosedImage(plain(name) if picture is None else folder.name_of(picture), picture, lenses[shot.camera], pose)


def _cloud(part: Reconstruction, unit: str) -> PointCloud | None:
    """The sparse points."""
    points = np.array([point.coordinates for point in part.points.values()], np.float64).reshape(-1, 3)
    colors = np.array([point.color for point in part.points.values()], np.float64).reshape(-1, 3)
    sound = (np.abs(points) <= LARGEST_COORDINATE).all(1)
    if not sound.any():
        return None
    return PointCloud(points[sound], colors=np.nan_to_num(colors[sound]).clip(0, 255).astype(np.uint8), unit=unit)
