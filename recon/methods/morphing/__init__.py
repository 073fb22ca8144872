"""From the slices of a label volume to surfaces: outlines that move and change from slice to slice.

Shape-based interpolation (Raya & Udupa 1990) interpolates the signed distances to each label's outline across the
slices and gives a point to the label of least distance. Where something crosses the slices at a slant, its outlines
do not lie above each other, and it is lost; so distances are interpolated along the paths on which the outlines move,
found by registering each slice with the next (Penney et al. 2004), all labels together.

The slices are cut and cleaned in `slices`, measured in `distances`, registered in `motion`, interpolated in
`interpolation`, and stacked up in `layers` into one label map, whose surfaces have no gap and no overlap and get back
in `volume` what smoothing took.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from jaxtyping import UInt16

from recon.errors import UserError
from recon.inputs import CrossSections
from recon.limits import Cost
from recon.methods.morphing.distances import slice_fields
from recon.methods.morphing.layers import LatticeLabels, LayersStage
from recon.methods.morphing.motion import MotionStage
from recon.methods.morphing.slices import Stack, stack_of
from recon.methods.morphing.volume import with_volume_given_back
from recon.scene import Frame, LabelGrid, Scene
from recon.slices import LabelVolume
from recon.surface.label_surfaces import label_surfaces

if TYPE_CHECKING:
    from recon.training import Trainer

MOST_NODES = 60_000_000
"""About 30 bytes a node are needed."""


class MorphingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Outlines that move and change from slice to slice."""

    layers: Annotated[int, msgspec.Meta(ge=1, le=32)] = 12
    """Layers of the lattice per slice kept, at most; as many as make its cells cubes are taken."""
    stiffness: Annotated[float, msgspec.Meta(ge=0.1, le=1e6)] = 15.0
    """How much alike neighbouring outlines move from a slice to the next."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> MorphingConfig:
        """The config of a quality."""
        return cls(layers={"draft": 1, "standard": 12, "high": 24}[quality])


def morphing(sections: CrossSections, config: MorphingConfig, train: Trainer) -> Scene:
    """One closed surface per label, neighbours without a gap or an overlap, and the labels of every slice.

    Before the first and after the last kept slice, half of the space to the next one is filled.

    Raises:
        UserError: the sections are no label volume, or have less than two slices or nothing on them.
    """
    if sections.volume is None:
        raise UserError(
            "--method morphing: takes the slices of a label volume; for contours use --method least-bending"
        )
    volume, stack = sections.volume, stack_of(sections.volume)
    refinement = _layers_per_step(stack, config.layers)
    fields = lru_cache(4)(lambda n: slice_fields(stack.painted[n], stack.pixel))
    between = refinement > 1 or len(volume.left_out) > 0
    displacements = train(MotionStage(stack, fields, config.stiffness)) if between else None
    show = partial(_scene, sections)
    lattice = train(LayersStage(stack, fields, displacements, refinement, volume.left_out, show))
    scene = _scene(sections, lattice)
    scene.label_grid = LabelGrid(_every_slice(volume, stack, lattice.left_out), volume.affine)
    if (size := stack.blocks[0].size) > 1:
        scene.notes = (
            f"The outlines lie on multiples of {size} pixels: squares of {size} x {size} are taken as pixels.",
        )
    return scene


def estimate(sections: CrossSections, config: MorphingConfig, device: str) -> Cost | None:
    """About what it costs, from the nodes of its lattice: measured on organs, a brain and its nuclei."""
    if sections.volume is None:
        return None
    stack = stack_of(sections.volume)
    layers = (stack.positions[-1] - stack.positions[0]) / stack.step * _layers_per_step(stack, config.layers)
    nodes = stack.painted[0].size * layers
    return Cost(1 + 0.7e-6 * nodes, 250 + 30e-6 * nodes, "a smaller --layers needs less")


def _layers_per_step(stack: Stack, most: int) -> int:
    """How many layers make the lattice's cells about cubes, within `most` and `MOST_NODES`."""
    cubes = round(stack.step * stack.thickness / float(stack.pixel.mean()))
    nodes_of_one = stack.painted[0].size * (stack.positions[-1] - stack.positions[0]) / stack.step
    return int(max(1, min(cubes, most, MOST_NODES // nodes_of_one)))


def _every_slice(
    volume: LabelVolume, stack: Stack, left_out: UInt16[np.ndarray, "slices rows columns"]
) -> UInt16[np.ndarray, "nx ny nz"]:
    """The volume with its left-out slices filled in, up to half a gap beyond the first and the last kept slice."""
    labels = np.zeros_like(volume.labels)
    slices, painted = np.moveaxis(labels, volume.axis, 0), np.moveaxis(volume.labels, volume.axis, 0)
    slices[volume.kept] = painted[volume.kept]
    for layer, n in zip(left_out, volume.left_out, strict=True):
        stack.paste(layer, slices[n])
    first, last = volume.kept[0], volume.kept[-1]
    before, after = (volume.kept[1] - first - 1) // 2, (last - volume.kept[-2] - 1) // 2
    slices[max(first - before, 0) : first] = painted[first]
    slices[last + 1 : last + 1 + after] = painted[last]
    return labels


def _scene(sections: CrossSections, lattice: LatticeLabels) -> Scene:
    """The labels' surfaces."""
    smooth = label_surfaces(lattice.labels, lattice.crossings, affine=lattice.affine, smooth=True)
    surfaces = with_volume_given_back(smooth)
    objects = {label.name: surfaces.of(label.id) for label in sections.labels}
    return Scene(objects=objects, labels=sections.labels, frame=Frame(unit=sections.unit, up=sections.up))
