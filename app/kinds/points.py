"""Point clouds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from recon.formats import PointOptions
from recon.inputs import PointCloud

if TYPE_CHECKING:
    from app.report_points import PointEvidence
    from app.viewer.page import Page
    from app.viewer.points import PointLayer
    from recon.scene import Scene

NAME = "points"
OPTIONS = PointOptions


def best_method(cloud: PointCloud) -> str:
    """The one that needs no normals and bears noise, whatever the thing is."""
    return "sheets"


def metrics(scene: Scene, cloud: PointCloud) -> dict[str, Any]:
    """`point_distance`: how far the points lie from the mesh, in their unit, and in `percent` of the diagonal."""
    from recon.formats.meshes import whole
    from recon.surface.deviation import Deviation, point_distances

    deviation = Deviation.of(point_distances(whole(scene), cloud.points), cloud.points)
    return {"point_distance": {**msgspec.to_builtins(deviation), "percent": deviation.percent()}}


def summary(metrics: dict[str, Any], unit: str) -> list[str]:
    """How closely the mesh follows the points."""
    distance = metrics["point_distance"]
    mean, most, greatest = (f"{distance[name]:.3g}" for name in ("mean", "quantile_95", "greatest"))
    length = "" if unit == "unknown" else f" {unit}"
    percent = f"{distance['percent']['mean']:.2g} % of the diagonal"
    return [f"points    {mean}{length} from the mesh on average ({percent}), 95 % within {most}, all within {greatest}"]


def size(cloud: PointCloud) -> str:
    """How many."""
    return f"{len(cloud.points):,} points"


def evidence(scene: Scene, cloud: PointCloud) -> PointEvidence:
    """The points, how far they lie from the result, and where that ends."""
    from app.report_points import PointEvidence

    return PointEvidence(scene, cloud)


def layer(page: Page, cloud: PointCloud) -> PointLayer:
    """The folder "Points"."""
    from app.viewer.points import PointLayer

    return PointLayer(page, cloud)


def write_for_blender(cloud: PointCloud, folder: Path) -> None:
    """points.ply, relative to the `offset` in points.json where float32, all that Blender has, could not hold them."""
    from recon.formats.meshes import float32_loses
    from recon.formats.ply_points import write_points

    low, high = cloud.points.min(0), cloud.points.max(0)
    offset = np.round((low + high) / 2) if float32_loses(cloud.points) else np.zeros(3)
    write_points(replace(cloud, points=cloud.points - offset), folder / "points.ply")
    spacing = float(np.sqrt(np.prod(np.sort(high - low)[1:]) / len(cloud.points)))
    facts = {"unit": cloud.unit, "offset": offset.tolist(), "radius": spacing / 3}
    (folder / "points.json").write_text(json.dumps(facts), encoding="utf-8")
