"""What is up in the files of splats, how far from the origin they reach, and how many of them memory holds.

Files hold the user's coordinates where they can say what is up in them: PLY in a comment, GLB in its root node. The
others have one upward direction by convention, and what is written is turned to it: .splat and SOG have -y up, as the
cameras of structure from motion have, SPZ has +y up. A foreign PLY file is taken to be -y up as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.gaussians.model import Gaussians
from recon.limits import require_memory
from recon.rotations import shortest_turn
from recon.scene import Scene

Y_DOWN, Y_UP = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
"""What is up where the axes are those of cameras (x right, y down, z forward) and of graphics (y up, z backward)."""

AXES_TURN = np.diag([1.0, -1.0, -1.0])
"""From either of these axes to the other: half a turn about x."""

VISIBLE_SHIFT = 0.05
"""Of the median size of the Gaussians."""


def placed(scene: Scene) -> tuple[Gaussians, Float64[np.ndarray, "3"]]:
    """The scene's Gaussians in the user's coordinates less an offset, and that offset: zero, except where float32 would
    shift them visibly.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    if scene.gaussians is None or not len(scene.gaussians):
        raise UserError("the scene holds no Gaussians; there is nothing to write")
    frame = scene.frame
    offset = frame.to_user(scene.gaussians.means).mean(axis=0) if float32_shifts(scene) else np.zeros(3)
    return scene.gaussians.transformed(frame.scale, frame.rotation, frame.translation - offset), offset


def float32_shifts(scene: Scene) -> bool:
    """Whether float32 user coordinates may move a Gaussian by a visible part of its size, as they do far from the
    origin."""
    assert scene.gaussians is not None
    farthest = np.abs(scene.frame.to_user(scene.gaussians.means)).max()
    size = scene.frame.scale * float(np.median(scene.gaussians.scales.max(axis=1)))
    return float(np.spacing(np.float32(farthest))) / 2 > VISIBLE_SHIFT * size


def turned(scene: Scene, up: tuple[float, float, float]) -> Gaussians:
    """The scene's Gaussians in the user's unit, turned so that the user's upward direction is `up`.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    gaussians, offset = placed(scene)
    turn = shortest_turn(scene.frame.up, up)
    return gaussians.transformed(1.0, turn, turn @ offset)


def check_memory(path: Path, count: int, degree: int) -> None:
    """Refuses a file whose Gaussians would not fit in memory, before anything is made for them.

    Raises:
        UserError: with what is needed and what is there.
    """
    copies, numbers = 3, 11 + 3 * (degree + 1) ** 2
    require_memory(4.0 * copies * numbers * count, f"it says that it holds {count} Gaussians", path)
