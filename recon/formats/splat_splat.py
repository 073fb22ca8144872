""".splat, the format of the first viewers in the browser: rows of 32 bytes without a header.

    float32 x, y, z   float32 scale x, y, z   byte r, g, b, opacity   byte w, x, y, z of the rotation, 128 q + 128

No harmonics above DC. Rows come largest and most opaque first, so that the beginning of a file is a picture already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon.errors import UserError
from recon.files import replacing
from recon.formats.splat_codes import LOGITS, to_bytes
from recon.formats.splat_frames import Y_DOWN, turned
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene

ROW = np.dtype([("mean", "<f4", (3,)), ("scale", "<f4", (3,)), ("color", "u1", (4,)), ("rotation", "u1", (4,))])
SMALLEST_SCALE = 1e-12
"""In place of a scale of 0, which has no logarithm."""


def read(path: Path) -> Scene:
    """The Gaussians of a .splat file.

    Raises:
        UserError: its size is no multiple of 32 bytes.
    """
    data = path.read_bytes()
    if len(data) % ROW.itemsize:
        raise UserError(f"{path}: has {len(data)} bytes; .splat files are rows of {ROW.itemsize}: it is cut short")
    rows = np.frombuffer(data, ROW)
    gaussians = Gaussians(
        means=rows["mean"].astype(np.float32),
        log_scales=np.log(np.maximum(rows["scale"], SMALLEST_SCALE)),
        quaternions=(rows["rotation"].astype(np.float32) - 128) / 128,
        opacity_logits=LOGITS[rows["color"][:, 3]],
        sh=((rows["color"][:, None, :3] / np.float32(255) - 0.5) / DC).astype(np.float32),
    )
    return Scene(gaussians=gaussians, frame=Frame(up=Y_DOWN))


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's Gaussians without what their colours change with the direction.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    gaussians = turned(scene, Y_DOWN)
    gaussians = gaussians.subset(np.argsort(-log_weight(gaussians)))
    rows = np.zeros(len(gaussians), ROW)
    rows["mean"] = gaussians.means
    rows["scale"] = gaussians.scales
    rows["color"][:, :3] = to_bytes(255 * (0.5 + DC * gaussians.sh[:, 0]))
    rows["color"][:, 3] = to_bytes(255 * gaussians.opacities)
    rows["rotation"] = to_bytes(128 * gaussians.rotations + 128)
    with replacing(path) as partial:
        partial.write_bytes(rows.tobytes())


def log_weight(gaussians: Gaussians) -> Float32[np.ndarray, "n"]:
    """The logarithm of volume times opacity, by which the rows are sorted."""
    return gaussians.log_scales.sum(axis=1) - np.logaddexp(0, -gaussians.opacity_logits)
