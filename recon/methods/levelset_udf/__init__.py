"""LevelSetUDF: an unsigned distance field from raw points by a neural network.

Zhou, Ma, Li, Liu, Han, "Learning a more continuous zero level set in unsigned distance fields through level set
projection", ICCV 2023. A network learns at random points around the cloud how far the surface is (`queries`, `field`):
it is taught to pull them onto the cloud, with level sets that agree with each other (`losses`), by a plan (`plan`,
`stage`). The surface is cut out of its distances and gradients; normals and denser points come from the field too
(`upsampling`). It knows no inside, so the surface may be open. What Relief does otherwise than the published program,
and what it costs, stands in docs/levelset-udf.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.inputs import PointCloud
from recon.limits import Cost
from recon.methods.tangent_planes import distinct
from recon.scene import Frame, Scene
from recon.surface.colors import carried, colors_at

if TYPE_CHECKING:
    import trimesh

    from recon.methods.levelset_udf.field import DistanceField
    from recon.methods.levelset_udf.plan import Plan
    from recon.training import Trainer

PREVIEW_RESOLUTION = 64
MEGABYTES = 600  # torch, the network and a million queries
MEGABYTES_A_POINT = 5e-4
MEGABYTES_A_ROW = 0.02  # of a batch: what nine layers are given, and their adjoints


class LevelsetUdfConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The published neural distance field."""

    budget: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Share of the published training: 1 is all of it. By default 1 on CUDA, on a CPU what takes about ten minutes."""
    scene: bool = False
    """The published setting for rooms and streets, not for single objects: longer, weaker side conditions."""
    query_spread: Annotated[float, msgspec.Meta(gt=0, le=4)] = 0.25
    """How far around the points the field is taught, in distances to a point's 50th neighbour."""
    extractor: Literal["sheets", "published"] = "sheets"
    """How the surface is cut out of the field: as by the method sheets, or by the published rule, cell by cell."""
    step: Annotated[float, msgspec.Meta(ge=0.7, le=10)] = 1.25
    """Size of the mesh's faces in local spacings of the points, for the extractor sheets."""
    resolution: Annotated[int, msgspec.Meta(ge=16, le=512)] = 256
    """Lattice nodes along each axis, for the published extractor."""
    closed: bool = False
    """The thing is closed: the mesh will be watertight. By default that is found out. For the extractor sheets."""
    open: bool = False
    """The thing is open: the mesh ends where the points end."""
    upsample: Annotated[float, msgspec.Meta(ge=1, le=64)] | None = None
    """Also write points with normals: 1 the input's, with the field's normals; 16 sixteen times as many."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> LevelsetUdfConfig:
        """The config of a quality."""
        of = {
            "draft": cls(budget=0.001, step=1.7, resolution=128),
            "standard": cls(),
            "high": cls(budget=1.0, step=1.0),
        }
        return of[quality]


def levelset_udf(cloud: PointCloud, config: LevelsetUdfConfig, train: Trainer) -> Scene:
    """One mesh, open or closed (which, and why, stands in the notes), and points with normals.

    Raises:
        UserError: the cloud has too few distinct points, or all on one line; `closed` and `open` are both asked for.
    """
    from recon.methods.levelset_udf.losses import OBJECT, SCENE
    from recon.methods.levelset_udf.plan import Plan, default_budget
    from recon.methods.levelset_udf.stage import DistanceStage

    if config.closed and config.open:
        raise UserError("--closed and --open: choose one; with neither, the method decides")
    cloud, frame = _normalised(cloud)
    points = cloud.points
    budget = config.budget or default_budget(len(points), config.scene, train.device)
    plan = Plan.of(len(points), budget, config.scene)

    def preview(field: DistanceField) -> Scene:
        return Scene(mesh=_published(field, points, PREVIEW_RESOLUTION, config.scene), frame=frame)

    weights = SCENE if config.scene else OBJECT
    field = train(DistanceStage(points, plan, weights, config.query_spread, train.seed, train.device, preview))
    notes = _reduction(plan, Plan.of(len(points), 1.0, config.scene), train)
    if config.extractor == "published":
        mesh = _published(field, points, config.resolution, config.scene)
    else:
        mesh, told = _by_sheets(field, points, config, frame)
        notes = (*told, *notes)
    denser = None if config.upsample is None else _points(field, cloud, config, config.upsample, train.seed)
    return Scene(mesh=carried(mesh, cloud), points=denser, frame=frame, notes=notes)


def fit_to_minutes(cloud: PointCloud, config: LevelsetUdfConfig, device: str, minutes: float) -> LevelsetUdfConfig:
    """The config with the largest budget whose training fits in the time, by a short measurement.

    The measurement differs from run to run: whoever wants the same result again keeps the config that it gave.
    """
    from recon.methods.levelset_udf.plan import largest_budget, seconds_a_pass

    passes = 60 * minutes / seconds_a_pass(device)
    budget = largest_budget(len(distinct(cloud).points), config.scene, passes)
    return msgspec.structs.replace(config, budget=budget)


def estimate(cloud: PointCloud, config: LevelsetUdfConfig, device: str) -> Cost:
    """What the training will take, by a short measurement."""
    from recon.methods.levelset_udf.plan import Plan, default_budget, seconds_a_pass

    count = len(distinct(cloud).points)
    plan = Plan.of(count, config.budget or default_budget(count, config.scene, device), config.scene)
    megabytes = MEGABYTES + MEGABYTES_A_POINT * count + MEGABYTES_A_ROW * (2 * plan.batch + plan.on_surface)
    return Cost(plan.passes * seconds_a_pass(device), megabytes, "thin the cloud, or give a smaller --budget")


def _normalised(cloud: PointCloud) -> tuple[PointCloud, Frame]:
    """The cloud's distinct points in the frame in which their longest side is 1, as published, and that frame."""
    cloud = distinct(cloud)
    frame = Frame.fitting(cloud.points, cloud.unit, cloud.up)
    frame = replace(frame, scale=2 * frame.scale)
    return replace(cloud, points=frame.from_user(cloud.points)), frame


def _by_sheets(
    field: DistanceField, points: Float64[np.ndarray, "n 3"], config: LevelsetUdfConfig, frame: Frame
) -> tuple[trimesh.Trimesh, list[str]]:
    """The surface by Relief's extractor, whether it is closed, and why, and what noise the network has learnt."""
    import trimesh

    from recon.methods.levelset_udf.extraction import sheets_of
    from recon.surface.sheets import surface_of

    wanted = True if config.closed else False if config.open else None
    nothing = "--method levelset-udf: no surface was found through the points; a larger --budget may find one"
    try:
        sheets, noise = sheets_of(field, points)
    except ValueError as problem:
        raise UserError(nothing) from problem
    found = surface_of(sheets, config.step, wanted)
    if not len(found.mesh.faces):
        raise UserError(nothing)
    notes = [f"levelset-udf: {'closed' if found.closed else 'open'}, {found.why}"]
    if noise > 0:
        notes.append(
            f"levelset-udf: the points scatter by {frame.scale * noise:.3g} on what the network learnt; the surface is "
            "that of patches through them (--extractor published takes the network's own)"
        )
    return trimesh.Trimesh(*found.mesh, process=False), notes


def _published(
    field: DistanceField, points: Float64[np.ndarray, "n 3"], resolution: int, scene: bool
) -> trimesh.Trimesh:
    """The surface by the published rule."""
    from recon.methods.levelset_udf.published_extraction import FAR_OF_OBJECT, FAR_OF_SCENE, published_surface

    return published_surface(field.evaluate, points, resolution, FAR_OF_SCENE if scene else FAR_OF_OBJECT)


def _points(field: DistanceField, cloud: PointCloud, config: LevelsetUdfConfig, factor: float, seed: int) -> PointCloud:
    """The input's points (factor 1), or that many times as many, with the field's normals."""
    from recon.methods.levelset_udf.upsampling import normals_at, upsampled

    if factor == 1:
        return replace(cloud, normals=normals_at(field, cloud.points).astype(np.float32))
    rng = np.random.default_rng((seed, 2))
    points, normals = upsampled(field, cloud.points, config.query_spread, round(factor * len(cloud.points)), rng)
    colors = None if cloud.colors is None else colors_at(points, cloud)
    return PointCloud(points, normals.astype(np.float32), colors, unit=cloud.unit, up=cloud.up)


def _reduction(plan: Plan, full: Plan, train: Trainer) -> tuple[str, ...]:
    """That the training was reduced, to what, and what all of it would have taken."""
    if plan == full:
        return ()
    record = train.records[-1]
    spent = record.cpu_seconds if train.device == "cpu" else record.wall_seconds
    times = full.passes / plan.passes
    return (
        f"levelset-udf, reduced: {plan.iterations:,} iterations of {plan.batch} queries, 1/{times:.0f} of the "
        f"published work, which would take about {spent * times / 3600:.2g} hours here (--budget 1)",
    )
