"""What a cloud of points holds: the facts behind `relief inspect` for points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon.formats.meshes import float32_loses
from recon.inputs import PointCloud
from recon.thinning import count_distinct, nearest_neighbors

SAMPLE = 5000  # points whose neighbours are looked at
PLANE_NEIGHBORS = 12  # few enough to see a bend as flat, enough to see noise
NOISY = 0.5  # of the spacing
CLASS_NAMES = {  # of LAS 1.4
    **{1: "unclassified", 2: "ground", 3: "low vegetation", 4: "medium vegetation", 5: "high vegetation"},
    **{6: "building", 7: "low noise", 9: "water", 17: "bridge deck", 18: "high noise"},
}


def describe_points(cloud: PointCloud, path: Path, format_name: str) -> dict[str, Any]:
    """The facts of a cloud, of JSON's own types alone; lengths are in the user's `unit`.

    `spacing` is the distance to the nearest other point: its median and the range of 90 % of the points.
    `density_ratio` compares the density (points an area, by 16 neighbours) exceeded by 5 % of the points with that
    exceeded by 95 %; about 3 where points are spread evenly at random. `roughness` is the median over the points of the
    RMS distance of 12 neighbours to their plane. `far_from_origin` says that float32 would lose coordinates.
    """
    points = cloud.points
    low, high = points.min(0), points.max(0)
    classes = np.zeros(0, np.uint8) if cloud.classification is None else cloud.classification
    return {
        "path": str(path),
        "format": format_name,
        "kind": "points",
        "unit": cloud.unit,
        "up": list(cloud.up),
        "points": len(points),
        "repeated": len(points) - count_distinct(points),
        "extent": {"low": low.tolist(), "high": high.tolist(), "size": (high - low).tolist()},
        "far_from_origin": float32_loses(points),
        **_surface_facts(points),
        "normals": cloud.normals is not None,
        "colors": cloud.colors is not None,
        "intensity": None
        if cloud.intensity is None
        else [float(np.nanmin(cloud.intensity)), float(np.nanmax(cloud.intensity))],
        "classes": {
            str(value): int(count) for value, count in zip(*np.unique(classes, return_counts=True), strict=True)
        },
        "notes": list(cloud.notes),
    }


def rows_of_points(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each fact of `describe_points`, in words."""
    unit = "" if description["unit"] == "unknown" else f" {description['unit']}"
    size, low, high = (description["extent"][name] for name in ("size", "low", "high"))
    spacing, roughness = description["spacing"], description["roughness"]
    noisy = "noisy" if roughness > NOISY * spacing["median"] else "thin"
    has = [name for name in ("normals", "colors", "intensity") if description[name]]
    has += ["classes"] if description["classes"] else []
    rows = [
        ("format", description["format"]),
        ("points", f"{description['points']:,}"),
        ("extent", " x ".join(f"{side:.6g}" for side in size) + unit),
        ("from", ", ".join(f"{number:.10g}" for number in low)),
        ("to", ", ".join(f"{number:.10g}" for number in high)),
        (
            "spacing",
            f"{spacing['median']:.3g}{unit}, {spacing['low']:.3g} to {spacing['high']:.3g} for 90 % of the points",
        ),
        ("roughness", f"{roughness:.3g}{unit} from the plane of 12 neighbours: {noisy} beside the spacing"),
        ("unit", "unknown (--unit tells it)" if not unit else description["unit"]),
        ("has", ", ".join(has) or "coordinates alone"),
    ]
    if description["density_ratio"] is not None:
        rows.insert(6, ("density", f"varies {description['density_ratio']:.3g} to 1 between its thin and dense parts"))
    if description["classes"]:
        named = [f"{CLASS_NAMES.get(int(c), 'class')} ({c}): {n:,}" for c, n in description["classes"].items()]
        rows.append(("classes", ", ".join(named)))
    if description["far_from_origin"]:
        rows.append(("origin", "far away: coordinates are kept in float64"))
    return rows


def _surface_facts(points: Float64[np.ndarray, "n 3"]) -> dict[str, Any]:
    """What the neighbourhoods of a sample tell."""
    taken = np.random.default_rng(0).permutation(len(points))[:SAMPLE]
    distances, neighbors = nearest_neighbors(points, min(16, len(points) - 1), taken)
    spacing, wide = distances[:, 0], distances.mean(1)
    least, most = np.percentile(wide, [5, 95])
    near = points[neighbors[:, :PLANE_NEIGHBORS]]
    centered = near - near.mean(1, keepdims=True)
    spread = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", centered, centered) / near.shape[1])[:, 0]
    return {
        "spacing": dict(zip(("low", "median", "high"), np.percentile(spacing, [5, 50, 95]).tolist(), strict=True)),
        "density_ratio": float((most / least) ** 2) if least > 0 else None,
        "roughness": float(np.median(np.sqrt(np.maximum(spread, 0)))),
    }
