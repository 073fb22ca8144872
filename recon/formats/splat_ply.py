"""PLY as 3D Gaussian Splatting writes it: the parameters as they are trained, one row of floats a Gaussian.

    x y z  nx ny nz  f_dc_0..2  f_rest_0..44  opacity  scale_0..2  rot_0..3

scale is a logarithm, opacity a logit, rot the quaternion w, x, y, z. f_rest holds the harmonics above DC, all of red,
then all of green, then all of blue: 0, 9, 24 or 45 of them for degree 0 to 3. Files are read by the names of their
columns, in any order. What programs do differently: no scale_2 (flat Gaussians), red, green and blue in place of
harmonics, comments about the upward direction and about antialiasing.

Written are Relief's comment with unit and up, float64 coordinates where float32 would lose them, and as normals the
axis along which each Gaussian is thinnest.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import float32_loses
from recon.formats.ply import facts_in
from recon.formats.ply_elements import read_ply
from recon.formats.splat_frames import Y_DOWN, placed
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene

FLATNESS = np.float32(np.log(1e-3))
"""The third scale of a flat Gaussian: a thousandth of its smaller one."""

NEEDED = ("x", "y", "z", "opacity", "scale_0", "scale_1", "rot_0", "rot_1", "rot_2", "rot_3")
LARGEST_DEGREE = 3


def read(path: Path) -> Scene:
    """The Gaussians of a PLY file, whichever program wrote it.

    Raises:
        UserError: it is no PLY file, is shorter than its header says, or lacks a column.
    """
    file = read_ply(path, last="vertex")
    columns = {name: v for name, v in file.tables.get("vertex", {}).items() if isinstance(v, np.ndarray)}
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise UserError(f"{path}: its vertices have no {', '.join(missing)}; Gaussians need all of {', '.join(NEEDED)}")
    means, offset = _means(columns)
    sh, notes = _harmonics(columns, path)
    gaussians = Gaussians(
        means=means,
        log_scales=_log_scales(columns),
        quaternions=_stacked(columns, [f"rot_{i}" for i in range(4)]),
        opacity_logits=columns["opacity"].astype(np.float32),
        sh=sh,
        antialiased=said_antialiased(file.comments),
    )
    return Scene(gaussians=gaussians, frame=replace(frame_said(file.comments), translation=offset), notes=notes)


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's Gaussians in the user's coordinates.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    gaussians, offset = placed(scene)
    wide = bool(offset.any())
    rest = gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(len(gaussians), -1)
    blocks = {
        ("nx", "ny", "nz"): gaussians.normals,
        tuple(f"f_dc_{i}" for i in range(3)): gaussians.sh[:, 0],
        tuple(f"f_rest_{i}" for i in range(rest.shape[1])): rest,
        ("opacity",): gaussians.opacity_logits[:, None],
        tuple(f"scale_{i}" for i in range(3)): gaussians.log_scales,
        tuple(f"rot_{i}" for i in range(4)): gaussians.quaternions,
    }
    names = [name for block in blocks for name in block]
    rows = np.zeros(len(gaussians), [("place", "<f8" if wide else "<f4", (3,)), ("rest", "<f4", (len(names),))])
    rows["place"] = gaussians.means + offset
    np.concatenate(list(blocks.values()), axis=1, out=rows["rest"])
    lines = header_start(scene.frame, gaussians.antialiased)
    lines.append(f"element vertex {len(rows)}")
    lines += [f"property {'double' if wide else 'float'} {axis}" for axis in "xyz"]
    lines += [f"property float {name}" for name in names]
    with replacing(path) as partial, partial.open("wb") as file:
        file.write("\n".join([*lines, "end_header", ""]).encode("ascii"))
        file.write(rows.view(np.uint8).data)


def header_start(frame: Frame, antialiased: bool) -> list[str]:
    """The first lines of a header, up to its elements: what `frame_said` and `said_antialiased` find again."""
    lines = ["ply", "format binary_little_endian 1.0"]
    lines.append("comment relief " + json.dumps({"unit": frame.unit, "up": list(frame.up)}))
    return [*lines, "comment antialiased 1"] if antialiased else lines


def frame_said(comments: list[str]) -> Frame:
    """Unit and upward direction as Relief's comment or nerfstudio's has them; -y up where no comment says."""
    if any(comment.startswith("relief") for comment in comments):
        facts = facts_in(comments)
        return Frame(unit=facts.unit, up=facts.up)
    if any(comment.lower() == "vertical axis: z" for comment in comments):
        return Frame(up=(0.0, 0.0, 1.0))
    return Frame(up=Y_DOWN)


def said_antialiased(comments: list[str]) -> bool:
    """Whether a comment of Relief's, Postshot's or Brush's says that the Gaussians were trained antialiased."""
    words = [comment.lower().split() for comment in comments]
    return ["antialiased", "1"] in words or ["splatrendermode:", "mip"] in words


def _means(columns: dict[str, np.ndarray]) -> tuple[Float32[np.ndarray, "n 3"], Float64[np.ndarray, "3"]]:
    """Centres less an offset, which is zero except where float32 would lose the coordinates."""
    points = np.stack([columns[axis] for axis in "xyz"], axis=1)
    finite = points[np.isfinite(points).all(axis=1)]
    if points.dtype == np.float32 or not len(finite) or not float32_loses(finite):
        return points.astype(np.float32), np.zeros(3)
    offset = (finite.min(0) + finite.max(0)) / 2
    return (points - offset).astype(np.float32), offset


def _log_scales(columns: dict[str, np.ndarray]) -> Float32[np.ndarray, "n 3"]:
    """Logarithms of the three scales; flat Gaussians, which have two, get a thin third."""
    two = _stacked(columns, ["scale_0", "scale_1"])
    third = columns["scale_2"].astype(np.float32) if "scale_2" in columns else two.min(axis=1) + FLATNESS
    return np.column_stack([two, third])


def _harmonics(columns: dict[str, np.ndarray], path: Path) -> tuple[Float32[np.ndarray, "n k 3"], tuple[str, ...]]:
    """The harmonics, and a note where the file has some of a higher degree than Relief knows."""
    count = sum(name.startswith("f_rest_") for name in columns)
    k = count // 3 + 1
    if count % 3 or round(k**0.5) ** 2 != k or any(f"f_rest_{i}" not in columns for i in range(count)):
        raise UserError(f"{path}: has {count} columns f_rest_0, f_rest_1, ...; 0, 9, 24 or 45 make a whole degree")
    kept = min(k, (LARGEST_DEGREE + 1) ** 2)
    sh = np.empty((len(columns["x"]), kept, 3), np.float32)
    sh[:, 0] = _constant_color(columns)
    for channel in range(3):
        for i in range(kept - 1):
            sh[:, 1 + i, channel] = columns[f"f_rest_{channel * (k - 1) + i}"]
    notes = () if kept == k else (f"Harmonics of degree {round(k**0.5) - 1} are cut to degree {LARGEST_DEGREE}.",)
    return sh, notes


def _constant_color(columns: dict[str, np.ndarray]) -> Float32[np.ndarray, "n 3"] | Float64[np.ndarray, "n 3"]:
    """The coefficients of DC, or what they are for the colours in the file: bytes, or floats from 0 to 1; grey where it
    has neither."""
    if {"f_dc_0", "f_dc_1", "f_dc_2"} <= columns.keys():
        return _stacked(columns, [f"f_dc_{i}" for i in range(3)])
    if not {"red", "green", "blue"} <= columns.keys():
        return np.zeros((len(columns["x"]), 3), np.float32)
    colors = np.stack([columns[name] for name in ("red", "green", "blue")], axis=1)
    return ((colors if colors.dtype.kind == "f" else colors / 255) - 0.5) / DC


def _stacked(columns: dict[str, np.ndarray], names: list[str]) -> Float32[np.ndarray, "n c"]:
    return np.stack([columns[name] for name in names], axis=1).astype(np.float32, copy=False)
