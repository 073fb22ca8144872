"""The splat formats that exist. A new one is a module here and one line in `SPLAT_FORMATS`.

A splat module has `read(path) -> Scene` and `write(scene, path) -> None`; the scene holds `gaussians`. What they share
is in `recon.formats.splat_frames`. A written file appears under its name only when it is whole.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.formats.ply_elements import elements_of
from recon.formats.splat_frames import Y_DOWN, Y_UP
from recon.formats.untrusted import failures_named
from recon.gaussians.cleaning import is_finite
from recon.scene import Scene

SOG_META = "meta.json"
SOG_META_READ = 1 << 16

OPAQUE = 16.0
"""The largest opacity logit that is kept: beyond it float32 opacity is 1."""


@dataclass(frozen=True)
class SplatFormat:
    """One row of the registry; the longest of the suffixes that fit wins.

    `up` is the upward direction that all its files have, None where a file says which. `keeps_far` tells whether it
    holds places far from the origin, `tells_antialiased` whether it can say that Gaussians were trained so.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    up: tuple[float, float, float] | None = None
    keeps_far: bool = False
    tells_antialiased: bool = True


SPLAT_FORMATS: tuple[SplatFormat, ...] = (
    SplatFormat("PLY splats", "recon.formats.splat_ply", (".ply",), keeps_far=True),
    SplatFormat("compressed PLY", "recon.formats.splat_compressed_ply", (".compressed.ply",)),
    SplatFormat(".splat", "recon.formats.splat_splat", (".splat",), Y_DOWN, tells_antialiased=False),
    SplatFormat("SPZ", "recon.formats.splat_spz", (".spz",), Y_UP),
    SplatFormat("SOG", "recon.formats.splat_sog", (".sog", SOG_META), Y_DOWN),
    SplatFormat("GLB splats", "recon.formats.splat_glb", (".glb",), keeps_far=True, tells_antialiased=False),
)


def splat_format_of(path: Path) -> SplatFormat:
    """The splat format of the path's ending.

    Raises:
        UserError: no splat format has it.
    """
    name = path.name.lower()
    fitting = [(len(suffix), row) for row in SPLAT_FORMATS for suffix in row.suffixes if name.endswith(suffix)]
    if not fitting:
        known = ", ".join(suffix for row in SPLAT_FORMATS for suffix in row.suffixes)
        raise UserError(f"{path}: no splat format has this ending; choose one of {known}")
    return max(fitting, key=lambda match: match[0])[1]


def read_splats(path: Path) -> Scene:
    """The Gaussians in a splat file or a folder of SOG's files, in the user's coordinates; those with a number that is
    not finite are left out and a note says how many.

    Raises:
        UserError: the ending is unknown, or the file cannot be opened or holds no Gaussian; the sentence says why.
    """
    path = path / SOG_META if _names_sog(path / SOG_META) else path
    row = splat_format_of(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    with failures_named(path):
        row = _ply_format(path) if path.suffix.lower() == ".ply" else row
        scene = importlib.import_module(row.module).read(path)
    return _checked(scene, path)


def write_splats(scene: Scene, path: Path) -> None:
    """Writes the scene's Gaussians in the format of the path's ending.

    Raises:
        UserError: the ending is unknown, or the scene holds no Gaussians.
    """
    importlib.import_module(splat_format_of(path).module).write(scene, path)


def is_splats(path: Path) -> bool:
    """Whether the path is a file of Gaussians, or a folder of SOG's files: by its ending, and by what is in it where
    meshes or points have the same ending."""
    from recon.formats.splat_glb import holds_gaussians

    if path.is_dir() or path.name == SOG_META:
        return _names_sog(path / SOG_META if path.is_dir() else path)
    if not path.is_file():
        return False
    match path.suffix.lower():
        case ".glb":
            return holds_gaussians(path)
        case ".ply":
            try:
                names = {column.name for element in elements_of(path) for column in element.properties}
            except UserError:
                return False
            return {"scale_0", "rot_0"} <= names or "packed_rotation" in names
        case suffix:
            return any(suffix in row.suffixes for row in SPLAT_FORMATS)


def _names_sog(meta: Path) -> bool:
    """Whether a file meta.json describes a SOG folder."""
    if not meta.is_file():
        return False
    with meta.open("rb") as file:
        head = file.read(SOG_META_READ)
    return b'"means"' in head and b'"quats"' in head


def _ply_format(path: Path) -> SplatFormat:
    """Plain or compressed: files of both are found under the ending .ply."""
    chunks = any(element.name == "chunk" for element in elements_of(path))
    return next(row for row in SPLAT_FORMATS if row.name == ("compressed PLY" if chunks else "PLY splats"))


def _checked(scene: Scene, path: Path) -> Scene:
    """The scene with the Gaussians that are finite, infinite opacities made as good as 0 and 1."""
    gaussians = scene.gaussians
    if gaussians is None or not len(gaussians):
        raise UserError(f"{path}: holds no Gaussian")
    sane = replace(gaussians, opacity_logits=np.clip(gaussians.opacity_logits, -OPAQUE, OPAQUE))
    fine = is_finite(sane)
    if fine.all():
        return replace(scene, gaussians=sane)
    if not fine.any():
        raise UserError(f"{path}: none of its {len(fine)} Gaussians has finite numbers")
    note = f"{int((~fine).sum())} of {len(fine)} Gaussians have numbers that are not finite, or no rotation: left out."
    return replace(scene, gaussians=sane.subset(fine), notes=(*scene.notes, note))
