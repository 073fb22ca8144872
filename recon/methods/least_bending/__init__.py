"""From planar contours to surfaces: the least bent signed-distance field that agrees with every plane.

Each label (and, where labels share space out among themselves, the background) gets a field that is negative inside.
On the planes the field is asked to be the distance to the contours, signed by the side; between and beyond them it
bends as little as it can (`recon.fields.least_bending`). Then the label of least field owns a point.

Variational implicit surfaces go back to Turk & O'Brien 1999. What makes them follow thin and slanted parts here stands
in `recon.methods.least_bending.fields`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from jaxtyping import Float32

from recon.errors import UserError
from recon.fields.least_bending import refine
from recon.inputs import CrossSections
from recon.limits import Cost
from recon.methods.least_bending.fields import FieldsStage, LabelField
from recon.planar import Outline, outlines
from recon.scene import Frame, Scene
from recon.slices import BACKGROUND, Label
from recon.surface.label_surfaces import label_surfaces
from recon.surface.marching import isosurface

if TYPE_CHECKING:
    import trimesh

    from recon.training import Trainer

SECONDS_A_NODE = 4e-6


class LeastBendingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The smoothest surface through the contours."""

    resolution: Annotated[int, msgspec.Meta(ge=16, le=4096)] = 128
    """Lattice cells along the longest side of the contours' box, 16 between planes at most (time grows as its cube)."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> LeastBendingConfig:
        """The config of a quality."""
        return cls(resolution={"draft": 64, "standard": 128, "high": 192}[quality])


def least_bending(sections: CrossSections, config: LeastBendingConfig, train: Trainer) -> Scene:
    """One closed surface per label.

    Raises:
        UserError: elevation contours (which have no inside), or no label that two planes show.
    """
    stage, labels = _prepared(sections, config)
    fields = train(stage)
    shared = BACKGROUND in fields
    meshes = _partitioned(fields) if shared else {label: _closed(field) for label, field in fields.items()}
    objects = {label.name: meshes[label.id] for label in labels}
    flat = [label.name for label in sections.labels if label not in labels]
    notes = tuple(f"{name}: contours on one plane alone enclose nothing; left out" for name in flat)
    return Scene(objects=objects, labels=labels, frame=stage.frame, notes=notes)


def estimate(sections: CrossSections, config: LeastBendingConfig, device: str) -> Cost | None:
    """About what it costs, from the nodes of its lattices: measured on contours of one body and of ten organs."""
    if sections.is_terrain:
        return None
    stage, _ = _prepared(sections, config)
    remedy = f"--resolution {config.resolution // 2} needs an eighth of it"
    nodes = sum(float(np.prod(problem.lattices[-1].shape)) for problem in stage.problems.values())
    return Cost(SECONDS_A_NODE * nodes, 180 + stage.memory / 1e6, remedy)


def _prepared(sections: CrossSections, config: LeastBendingConfig) -> tuple[FieldsStage, tuple[Label, ...]]:
    """The work to be done, and the labels that it gives surfaces of."""
    if sections.is_terrain:
        raise UserError("--method least-bending: elevation contours have no inside; use --method height-field")
    frame = Frame.fitting(sections.extent, sections.unit, sections.up)
    shared = sections.partition and len(sections.labels) > 1
    wanted = [BACKGROUND] * shared + [label.id for label in sections.labels]
    regions = {label: [outline.in_frame(frame) for outline in outlines(sections, label)] for label in wanted}
    flat = () if shared else tuple(label for label in sections.labels if _on_one_plane(regions[label.id]))
    labels = tuple(label for label in sections.labels if label not in flat)
    if not labels:
        raise UserError("the contours lie in one plane; at least two planes must show a label")
    for label in flat:
        del regions[label.id]
    stage = FieldsStage(regions, config.resolution, shared, frame, labels)
    return stage, labels


def _on_one_plane(outlines: list[Outline]) -> bool:
    return sum(len(outline.segments) > 0 for outline in outlines) < 2


def _closed(field: LabelField) -> trimesh.Trimesh:
    """The zero set of one label's field, on the lattice refined once more."""
    lattice = field.lattice.refined()
    x, y, z = lattice.origin
    step = lattice.step
    return isosurface(refine(field.values), spacing=(step, step, step), origin=(x, y, z))


def _partitioned(fields: dict[int, LabelField]) -> dict[int, trimesh.Trimesh]:
    """The surfaces between the labels of least field: no gap, no overlap."""
    ids = np.array(sorted(fields), np.uint16)
    stack = np.stack([fields[label].values for label in ids])
    lattice = fields[BACKGROUND].lattice
    owner = stack.argmin(0)
    affine = np.diag([lattice.step] * 3 + [1.0])
    affine[:3, 3] = lattice.origin
    crossings = (_crossing(stack, owner, 0), _crossing(stack, owner, 1), _crossing(stack, owner, 2))
    surfaces = label_surfaces(ids[owner], crossings, affine=affine)
    return {int(label): surfaces.of(int(label)) for label in ids if label != BACKGROUND}


def _crossing(
    stack: Float32[np.ndarray, "labels nx ny nz"], owner: np.ndarray, axis: int
) -> Float32[np.ndarray, "mx my mz"]:
    """Where on each lattice edge along the axis the fields of the owners of its two ends are equal, in (0, 1)."""
    a = np.moveaxis(owner, axis, 0)[:-1]
    b = np.moveaxis(owner, axis, 0)[1:]
    share = np.full(a.shape, 0.5, np.float32)
    at = np.nonzero(a != b)
    f = np.moveaxis(stack, axis + 1, 1)
    start = f[(b[at], *at)] - f[(a[at], *at)]
    up = (at[0] + 1, *at[1:])
    end = f[(a[at], *up)] - f[(b[at], *up)]
    share[at] = np.clip(start / np.maximum(start + end, np.finfo(np.float32).tiny), 0.01, 0.99)
    return np.moveaxis(share, 0, axis)
