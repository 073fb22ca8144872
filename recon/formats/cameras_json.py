"""cameras.json: the cameras of a scene in the user's coordinates, with the frame of the reconstruction.

    {"cameras": [{"name", "width", "height", "intrinsics" (3x3), "world_to_camera" (4x4), "held_out"}],
     "frame": {"scale", "rotation" (3x3), "translation", "unit", "up"}}

`name` is the photo's path relative to the input, `frame` the similarity that led from reconstruction to user
coordinates: what the file holds is in the user's already.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from recon.errors import UserError
from recon.scene import Frame, SceneCamera
from render.cameras import Camera

Triple = tuple[float, float, float]
Quadruple = tuple[float, float, float, float]


class CameraEntry(msgspec.Struct, frozen=True):
    """One camera: OpenCV axes, pixel centres at +0.5."""

    name: str
    width: Annotated[int, msgspec.Meta(gt=0)]
    height: Annotated[int, msgspec.Meta(gt=0)]
    intrinsics: tuple[Triple, Triple, Triple]
    world_to_camera: tuple[Quadruple, Quadruple, Quadruple, Quadruple]
    held_out: bool = False


class FrameEntry(msgspec.Struct, frozen=True):
    """A `recon.scene.Frame` in JSON's own types."""

    scale: float = 1.0
    rotation: tuple[Triple, Triple, Triple] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    translation: Triple = (0.0, 0.0, 0.0)
    unit: str = "unknown"
    up: Triple = (0.0, 0.0, 1.0)

    @classmethod
    def of(cls, frame: Frame) -> FrameEntry:
        """The entry of a frame."""
        return msgspec.convert(
            {
                "scale": frame.scale,
                "rotation": frame.rotation.tolist(),
                "translation": frame.translation.tolist(),
                "unit": frame.unit,
                "up": [float(axis) for axis in frame.up],
            },
            cls,
        )


class CamerasFile(msgspec.Struct, frozen=True):
    """The whole file."""

    cameras: list[CameraEntry]
    frame: FrameEntry = msgspec.field(default_factory=FrameEntry)


def write(cameras: Sequence[SceneCamera], frame: Frame, path: Path) -> None:
    """Writes cameras in reconstruction coordinates, and the frame that takes them to the user's."""
    entries = [_entry(one.name, frame.camera_to_user(one.camera), one.held_out) for one in cameras]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(CamerasFile(entries, FrameEntry.of(frame))), indent=1))


def read(path: Path) -> tuple[tuple[SceneCamera, ...], Frame]:
    """The cameras, in the user's coordinates, and the frame of these: unit and upward direction.

    Raises:
        UserError: the file is not of this form; the sentence names the entry.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=CamerasFile)
    except (OSError, msgspec.DecodeError) as problem:
        raise UserError(f"{path}: is no cameras.json of Relief ({problem})") from problem
    cameras = tuple(SceneCamera(entry.name, _camera(entry), entry.held_out) for entry in found.cameras)
    return cameras, Frame(unit=found.frame.unit, up=found.frame.up)


def _entry(name: str, camera: Camera, held_out: bool) -> CameraEntry:
    return msgspec.convert(
        {
            "name": name,
            "width": camera.width,
            "height": camera.height,
            "intrinsics": camera.intrinsics.tolist(),
            "world_to_camera": camera.world_to_camera.tolist(),
            "held_out": held_out,
        },
        CameraEntry,
    )


def _camera(entry: CameraEntry) -> Camera:
    return Camera(np.array(entry.world_to_camera), np.array(entry.intrinsics), entry.width, entry.height)
