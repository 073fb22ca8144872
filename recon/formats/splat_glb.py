"""GLB with the glTF extension KHR_gaussian_splatting: points that carry what a Gaussian has, as it is drawn.

    POSITION
    KHR_gaussian_splatting:ROTATION           x, y, z, w, of unit length
    KHR_gaussian_splatting:SCALE              standard deviations, not their logarithms
    KHR_gaussian_splatting:OPACITY            0 to 1
    KHR_gaussian_splatting:SH_DEGREE_l_COEF_m three numbers, red, green and blue
    COLOR_0                                   what viewers without the extension show: linear colour, opacity

Units and axes as in `recon.formats.glb`: the root node turns the user's upward direction to +Y and scales to metres.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from recon.errors import UserError
from recon.files import replacing
from recon.formats.glb import GlbDocument, GlbReader
from recon.formats.splat_frames import Y_DOWN, placed
from recon.formats.untrusted import plain
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.scene import Scene
from render.meshes import to_linear

EXTENSION = "KHR_gaussian_splatting"
POINTS = 0
COLUMNS = {"ROTATION": 4, "OPACITY": 1}  # of others there are three
DEGREES = (1, 2, 3)
LARGEST_JSON = 1 << 24
VERTEX_DATA = 34962
SMALLEST_SCALE = 1e-12
LEAST_OPACITY = 1e-6
SKEW = 1e-3
"""A node may scale by this much more along one axis than along another, and counts as a similarity."""


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's Gaussians.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    gaussians, offset = placed(scene)
    document = GlbDocument(scene.frame, extensions=(EXTENSION,))
    linear = to_linear(np.clip(0.5 + DC * gaussians.sh[:, 0], 0, 1))
    fallback = np.rint(65535 * np.column_stack([linear, gaussians.opacities])).astype(np.uint16)
    attributes = {
        "POSITION": document.accessor(gaussians.means, VERTEX_DATA, bounds=True),
        "COLOR_0": document.accessor(fallback, VERTEX_DATA),
        f"{EXTENSION}:ROTATION": document.accessor(np.roll(gaussians.rotations, -1, axis=1), VERTEX_DATA),
        f"{EXTENSION}:SCALE": document.accessor(gaussians.scales, VERTEX_DATA),
        f"{EXTENSION}:OPACITY": document.accessor(gaussians.opacities[:, None], VERTEX_DATA),
    }
    for i, name in enumerate(_harmonic_names(gaussians.sh_degree)):
        attributes[name] = document.accessor(gaussians.sh[:, i], VERTEX_DATA)
    kind = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    primitive = {"attributes": attributes, "mode": POINTS, "extensions": {EXTENSION: kind}}
    document.place("splats", primitive, offset)
    with replacing(path) as partial:
        partial.write_bytes(document.encoded())


def read(path: Path) -> Scene:
    """The Gaussians of all primitives that have them, in the user's coordinates where Relief wrote the file, else in
    metres with -y up.

    Raises:
        UserError: the file is no GLB, is shorter than it says, holds no Gaussians, or holds them in a way that Relief
            does not read (compressed, in another kernel, or skewed by a node).
    """
    try:
        reader = GlbReader(path, understood=(EXTENSION,))
        frame, to_user = reader.frame(foreign_up=Y_DOWN)
        carriers = [
            (to_user @ matrix, primitive["attributes"], primitive["extensions"][EXTENSION])
            for _, matrix, primitive in reader.primitives()
            if EXTENSION in primitive.get("extensions", {})
        ]
        offset = carriers[0][0][:3, 3].copy() if carriers else np.zeros(3)
        found: list[Gaussians] = []
        notes: list[str] = []
        for matrix, attributes, kind in carriers:
            matrix[:3, 3] -= offset
            found.append(_moved(_gaussians(reader, path, attributes, kind, notes), matrix, path))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
        name = plain(f"{type(problem).__name__}: {problem}")
        raise UserError(f"{path}: its JSON is no valid glTF 2.0 with {EXTENSION} ({name})") from problem
    if not found:
        raise UserError(f"{path}: holds no Gaussians; its points do not carry {EXTENSION}")
    return Scene(gaussians=_joined(found), frame=replace(frame, translation=offset), notes=tuple(dict.fromkeys(notes)))


def holds_gaussians(path: Path) -> bool:
    """Whether the file's header names the extension."""
    with path.open("rb") as file:
        head = file.read(20)
        length = int.from_bytes(head[12:16], "little")
        return head[:4] == b"glTF" and f'"{EXTENSION}"'.encode() in file.read(min(length, LARGEST_JSON))


def _gaussians(
    reader: GlbReader, path: Path, attributes: dict[str, int], kind: dict[str, Any], notes: list[str]
) -> Gaussians:
    """One primitive's Gaussians in its node's coordinates."""
    within = list(kind.get("extensions", {}))
    if within:
        raise UserError(f"{path}: its Gaussians need the glTF extension {plain(within[0])}, which Relief does not read")
    if kind.get("kernel", "ellipse") != "ellipse":
        raise UserError(f"{path}: its Gaussians are of the kernel {plain(kind['kernel'])}; Relief reads ellipse")
    if kind.get("colorSpace") == "lin_rec709_display":
        notes.append("The file's colours are linear; they are kept as they are and look dark.")
    values = _values(reader, path, attributes)
    scales = values[f"{EXTENSION}:SCALE"].astype(np.float32)
    if (scales < 0).any():
        notes.append("Its scales are below zero: taken for logarithms, as a draft of the extension had them.")
    opacities = values[f"{EXTENSION}:OPACITY"].astype(np.float32).ravel()
    opacities = np.clip(opacities, LEAST_OPACITY, 1 - LEAST_OPACITY)
    degree = sum(f"{EXTENSION}:SH_DEGREE_{band}_COEF_0" in values for band in DEGREES)
    return Gaussians(
        means=values["POSITION"].astype(np.float32),
        log_scales=scales if (scales < 0).any() else np.log(np.maximum(scales, SMALLEST_SCALE)),
        quaternions=np.roll(values[f"{EXTENSION}:ROTATION"].astype(np.float32), 1, axis=1),
        opacity_logits=np.log(opacities / (1 - opacities)),
        sh=np.stack([values[name] for name in _harmonic_names(degree)], axis=1).astype(np.float32),
    )


def _values(reader: GlbReader, path: Path, attributes: dict[str, int]) -> dict[str, Shaped[np.ndarray, "n _"]]:
    """The attributes that make Gaussians, a row each for every one of them."""
    named = {name: index for name, index in attributes.items() if name.startswith((EXTENSION, "POSITION"))}
    values = {name: reader.values(index) for name, index in named.items()}
    count = len(values["POSITION"])
    for name, rows in values.items():
        columns = COLUMNS.get(name.removeprefix(f"{EXTENSION}:"), 3)
        if rows.shape != (count, columns):
            raise UserError(f"{path}: {plain(name)} has the shape {rows.shape} where {(count, columns)} is needed")
    return values


def _harmonic_names(degree: int) -> list[str]:
    """The attributes of the harmonics up to this degree, in the order of their basis functions."""
    return [f"{EXTENSION}:SH_DEGREE_{band}_COEF_{m}" for band in range(degree + 1) for m in range(2 * band + 1)]


def _moved(gaussians: Gaussians, matrix: Float64[np.ndarray, "4 4"], path: Path) -> Gaussians:
    """The Gaussians in the coordinates that the matrix leads to, if it is a similarity."""
    scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
    if not scale > 0 or np.abs(matrix[:3, :3].T @ matrix[:3, :3] / scale**2 - np.eye(3)).max() > SKEW:
        raise UserError(f"{path}: a node mirrors its Gaussians or scales them unevenly, which Gaussians cannot follow")
    return gaussians.transformed(scale, matrix[:3, :3] / scale, matrix[:3, 3])


def _joined(parts: list[Gaussians]) -> Gaussians:
    """All of them, with the harmonics of the highest degree among them."""
    most = max(part.sh.shape[1] for part in parts)
    padded = [np.pad(part.sh, ((0, 0), (0, most - part.sh.shape[1]), (0, 0))) for part in parts]
    return Gaussians(
        means=np.concatenate([part.means for part in parts]),
        log_scales=np.concatenate([part.log_scales for part in parts]),
        quaternions=np.concatenate([part.quaternions for part in parts]),
        opacity_logits=np.concatenate([part.opacity_logits for part in parts]),
        sh=np.concatenate(padded),
    )
