"""Metashape and PhotoScan: the cameras as exported to XML, beside the photos or a folder of them.

A camera's transform leads from the camera (OpenCV axes) to its chunk, the chunk's transform (rotation, translation,
scale), where it has one, from there to metres. In newer files a chunk may be aligned in several components, each with a
transform of its own instead. Of a chunk placed on the Earth these are geocentric; its world is then turned to east,
north and up around the middle of its cameras. A sensor's calibration is Brown's model,

    x'' = x' (1 + k1 r^2 + ... + k4 r^8) + p1 (r^2 + 2 x'^2) + 2 p2 x' y'     p1 and p2 are OpenCV's p2 and p1
    u = width / 2 + cx + x'' (f + b1) + y'' b2        v = height / 2 + cy + y'' f

of perspective or, for fisheyes, equidistant projection; old files have fx, fy and an absolute cx, cy instead.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64

from recon.distortion import Lens
from recon.errors import UserError
from recon.formats.camera_poses import inverse, rigid
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, views_of
from recon.formats.untrusted import plain, read_whole
from recon.images import may_be_sides
from recon.inputs import Views

FOLDERS = ("", "images", "photos", "image")
SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".tif", ".tiff")
ECCENTRICITY2 = 6.69437999014e-3  # of WGS 84, squared
GEOCENTRIC = (6.3e6, 6.5e6)  # metres from the middle of the Earth


def read(path: Path, options: ViewOptions) -> Views:
    """The views of the chunk with the most aligned cameras, of one component.

    Raises:
        UserError: the file is not such XML, a number in it makes no sense, or the photos are not there.
    """
    file = path / "cameras.xml" if path.is_dir() else path
    chunk = _chunk(file)
    folder = ImageFolder.of(file.parent, options)
    lenses = {sensor.get("id", ""): lens for sensor in chunk.iter("sensor") if (lens := _lens(file, sensor))}
    aligned = _aligned(chunk)
    world, unit = _world(file, chunk, aligned[0])
    poses = [world @ _pose(file, camera) for camera in aligned]
    middle = np.mean([pose[:3, 3] for pose in poses], axis=0) if poses else np.zeros(3)
    notes: list[str] = []
    up = None
    if GEOCENTRIC[0] < np.linalg.norm(middle) < GEOCENTRIC[1]:
        level = _level(middle)
        poses, up = [level @ pose for pose in poses], (0.0, 0.0, 1.0)
        notes.append(
            f"Coordinates are metres east, north and up of the cameras' middle, geocentric {middle.round(3).tolist()}."
        )
    posed = []
    for camera, pose in zip(aligned, poses, strict=True):
        label, sensor = camera.get("label", ""), camera.get("sensor_id", "")
        if sensor not in lenses:
            raise UserError(
                f"{file}: the camera {plain(label, 60)} is of a sensor without a frame or fisheye calibration; "
                "leave it out, or cut its panoramas to perspective photos"
            )
        picture = folder.find(label, FOLDERS, SUFFIXES)
        name = plain(label) if picture is None else folder.name_of(picture)
        posed.append(PosedImage(name, picture, lenses[sensor], inverse(rigid(pose, f"{file}: the pose of {name}"))))
    return views_of(folder.root, posed, options, unit=unit or options.unit or "unknown", up=up, notes=notes)


def _chunk(file: Path) -> ElementTree.Element:
    """The chunk with the most aligned cameras."""
    content = read_whole(file)
    if any(mark in content for mark in (b"<!DOCTYPE", b"<!ENTITY", b"\0")):  # zeros: other encodings hide the marks
        raise UserError(f"{file}: declares entities, or is not UTF-8, as Metashape writes it; export the cameras anew")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as problem:
        raise UserError(f"{file}: is no sound XML ({plain(problem)}); export the cameras anew") from problem
    chunks = [chunk for chunk in root.iter("chunk") if _aligned(chunk)]
    if not chunks:
        raise UserError(f"{file}: holds no aligned cameras; align the photos in Metashape and export the cameras again")
    return max(chunks, key=lambda chunk: len(_aligned(chunk)))


def _aligned(chunk: ElementTree.Element) -> list[ElementTree.Element]:
    """The cameras of the component in which there are most."""
    components: dict[str | None, list[ElementTree.Element]] = {}
    for camera in chunk.iter("camera"):
        if camera.find("transform") is not None and camera.get("enabled", "true").lower() in ("true", "1"):
            components.setdefault(camera.get("component_id"), []).append(camera)
    return max(components.values(), key=len, default=[])


def _lens(file: Path, sensor: ElementTree.Element) -> Lens | None:
    """The adjusted calibration of a sensor; None where it has none or takes panoramas."""
    found = sensor.findall("calibration")
    calibration = next((one for one in found if one.get("class") == "adjusted"), found[0] if found else None)
    if calibration is None or calibration.get("type", "frame") not in ("frame", "fisheye"):
        return None
    resolution = calibration.find("resolution")
    resolution = sensor.find("resolution") if resolution is None else resolution
    where = f"{file}: the calibration of sensor {plain(sensor.get('id'), 20)}"

    def number(name: str, default: float = 0.0) -> float:
        return _numbers(calibration.findtext(name, str(default)), 1, where)[0]

    sizes = (resolution.get("width"), resolution.get("height")) if resolution is not None else (None, None)
    width, height = (int(_numbers(size or "0", 1, where)[0]) for size in sizes)
    if not may_be_sides(width, height):
        raise UserError(f"{where} has a resolution of {width} x {height} pixels; both must be positive")
    if number("p3") or number("p4"):
        raise UserError(f"{where} has tangential terms p3 and p4; optimize the cameras without them")
    f, offset = (
        (number("f"), np.array([width, height]) / 2) if calibration.find("f") is not None else (0.0, np.zeros(2))
    )
    fx, fy, skew = number("fx", f + number("b1")), number("fy", f), number("skew", number("b2"))
    cx, cy = offset + (number("cx"), number("cy"))
    return Lens(
        width,
        height,
        np.array([[fx, skew, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
        projection="equidistant" if calibration.get("type") == "fisheye" else "perspective",
        radial=tuple(number(f"k{i}") for i in range(1, 5)),
        tangential=(number("p2"), number("p1")),
    )


def _world(
    file: Path, chunk: ElementTree.Element, camera: ElementTree.Element
) -> tuple[Float64[np.ndarray, "4 4"], str | None]:
    """From the coordinates of a camera's chunk to the world's, and the unit of these: metres where it is scaled."""
    components = {component.get("id"): component for component in chunk.iter("component")}
    transform = components.get(camera.get("component_id"), chunk).find("transform")
    transform = chunk.find("transform") if transform is None else transform
    where = f"{file}: the transform of its chunk"
    world = np.eye(4)
    if transform is None or transform.find("scale") is None:
        return world, None
    rotation = _numbers(transform.findtext("rotation", "1 0 0 0 1 0 0 0 1"), 9, where).reshape(3, 3)
    (scale,) = _numbers(transform.findtext("scale", "1"), 1, where)
    world[:3, :3], world[:3, 3] = scale * rotation, _numbers(transform.findtext("translation", "0 0 0"), 3, where)
    return world, "m"


def _pose(file: Path, camera: ElementTree.Element) -> Float64[np.ndarray, "4 4"]:
    where = f"{file}: the transform of {plain(camera.get('label'), 60)}"
    return rigid(_numbers(camera.findtext("transform", ""), 16, where).reshape(4, 4), where)


def _numbers(text: str, count: int, where: str) -> Float64[np.ndarray, "_"]:
    try:
        numbers = np.array(text.split(), np.float64)
    except ValueError as problem:
        raise UserError(f"{where} holds a word where a number is needed ({plain(problem, 60)})") from problem
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UserError(f"{where} needs {count} finite numbers in a row, {len(numbers)} are there")
    return numbers


def _level(position: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "4 4"]:
    """From geocentric coordinates to east, north and up (square to the ellipsoid of WGS 84) around a position."""
    up = position / (1, 1, 1 - ECCENTRICITY2)
    up /= np.linalg.norm(up)
    east = np.cross([0.0, 0.0, 1.0], up)
    east /= max(float(np.linalg.norm(east)), 1e-12)
    level = np.eye(4)
    level[:3, :3] = np.stack([east, np.cross(up, east), up])
    level[:3, 3] = -level[:3, :3] @ position
    return level
