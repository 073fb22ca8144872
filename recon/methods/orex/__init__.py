"""OReX: a surface from planar cross-sections by a recurrent neural field.

Sawdayee, Vaxman, Bermano, "OReX: Object Reconstruction from Planar Cross-sections Using Neural Fields", CVPR 2023.

A small network learns at which points one is inside, from points sampled ever closer around the contours
(`contour_samples`); it is asked ten times and refines its own answer (`field`); it is trained in six levels (`stage`);
its zero set is the surface (`extraction`). What Relief does otherwise than the published program, and what it costs,
stands in docs/orex.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from recon.errors import UserError
from recon.inputs import CrossSections
from recon.limits import Cost
from recon.scene import Frame, LabelGrid, Scene
from recon.slices import BACKGROUND

if TYPE_CHECKING:
    from recon.methods.orex.extraction import Field
    from recon.training import Trainer

PREVIEW_RESOLUTION = 48


class OrexConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The published neural field."""

    budget: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Share of the published training: 1 is all of it. By default 1 on CUDA, on a CPU what takes about ten minutes."""
    resolution: Annotated[int, msgspec.Meta(ge=16, le=1024)] = 300
    """Lattice cells along 1.1 times the longest side of the contours' box."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> OrexConfig:
        """The config of a quality."""
        return {"draft": cls(budget=0.005, resolution=150), "standard": cls(), "high": cls(budget=1.0)}[quality]


def orex(sections: CrossSections, config: OrexConfig, train: Trainer) -> Scene:
    """One closed surface per label; for a label volume also the labels of its voxels.

    Raises:
        UserError: there are no closed contours, or all lie in one plane.
    """
    from recon.methods.orex.contour_samples import normalised
    from recon.methods.orex.plan import Plan, default_budget
    from recon.methods.orex.stage import OrexStage

    if sections.is_terrain:
        raise UserError("--method orex: elevation contours have no inside; use --method height-field")
    inner, frame = normalised(sections)
    budget = config.budget or default_budget(inner, train.device)

    def meshed(field: Field, resolution: int = PREVIEW_RESOLUTION) -> Scene:
        return _scene(field, inner, resolution, frame)

    plan = Plan.of(inner, budget)
    field = train(OrexStage(inner, plan, train.seed, train.device, preview=meshed))
    scene = meshed(field, config.resolution)
    scene.label_grid = _label_grid(field, sections, inner, frame)
    if budget < 1:
        share = f"{plan.samples / 1e6:.1f} million samples, {100 * budget:.2g} % of the published"
        scene.notes += (f"orex, reduced: trained on {share}",)
    return scene


def estimate(sections: CrossSections, config: OrexConfig, device: str) -> Cost | None:
    """About what it costs on one core of a CPU: a point of an average step as measured in docs/orex.md, and the field
    at the lattice's nodes near the surface. On CUDA it depends on the card: None."""
    from recon.methods.orex.contour_samples import normalised
    from recon.methods.orex.extraction import expected_evaluations
    from recon.methods.orex.plan import EVALUATION, LATER_STEPS, SECONDS_A_SAMPLE, Plan, default_budget

    if sections.is_terrain or device.startswith("cuda"):
        return None
    inner, _ = normalised(sections)
    samples = Plan.of(inner, config.budget or default_budget(inner, device)).samples
    evaluations = EVALUATION / LATER_STEPS * expected_evaluations(inner, config.resolution)
    remedy = f"--resolution {config.resolution // 2} needs less"
    return Cost(SECONDS_A_SAMPLE * (samples + evaluations), 600 + 1.5e-5 * config.resolution**3, remedy)


def fit_to_minutes(sections: CrossSections, config: OrexConfig, device: str, minutes: float) -> OrexConfig:
    """The config with the largest budget whose training and extraction fit in the time, by a short measurement.

    The measurement differs from run to run: whoever wants the same result again keeps the config that it gave.
    """
    from recon.methods.orex.contour_samples import normalised
    from recon.methods.orex.extraction import expected_evaluations
    from recon.methods.orex.plan import budget_for

    inner, _ = normalised(sections)
    nodes = expected_evaluations(inner, config.resolution)
    return msgspec.structs.replace(config, budget=budget_for(60 * minutes, inner, nodes, device))


def _scene(field: Field, inner: CrossSections, resolution: int, frame: Frame) -> Scene:
    """The surfaces of all labels that have one."""
    from recon.methods.orex.extraction import surfaces

    meshes = dict(zip(inner.labels, surfaces(field, inner, resolution), strict=True))
    labels = tuple(label for label, mesh in meshes.items() if len(mesh.faces))
    lost = tuple(f"{label.name}: the field has no inside" for label in inner.labels if label not in labels)
    return Scene(objects={label.name: meshes[label] for label in labels}, labels=labels, frame=frame, notes=lost)


def _label_grid(field: Field, sections: CrossSections, inner: CrossSections, frame: Frame) -> LabelGrid | None:
    """The field's labels on the voxels of a label volume."""
    from recon.methods.orex.contour_samples import outer_hull
    from recon.methods.orex.extraction import Lattice, closed, contour_points, label_lattice

    volume = sections.volume
    if volume is None:
        return None
    to_user = np.eye(4)
    to_user[:3, :3], to_user[:3, 3] = frame.scale * frame.rotation, frame.translation
    lattice = Lattice(np.linalg.solve(to_user, volume.affine), volume.labels.shape)
    spacing = volume.spacing.min() / frame.scale
    contours = np.concatenate([contour_points(inner, label.id, spacing) for label in inner.labels])
    ids = np.array([BACKGROUND, *(label.id for label in inner.labels)], np.uint16)
    found = label_lattice(closed(field.evaluate, outer_hull(inner)), lattice, contours)
    return LabelGrid(ids[found.labels], volume.affine)
