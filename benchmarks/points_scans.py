"""Real scans, which have no truth: cost a point, topology, and how far the points lie from the surface."""

from __future__ import annotations

import sys

import numpy as np
from points_inputs import DATA, spacing_of
from points_running import solve, timed

from recon.errors import UserError
from recon.formats import ReadOptions, read
from recon.inputs import PointCloud
from recon.surface.deviation import point_distances
from recon.surface.topology import Topology

SCANS = (
    "scans/airborne/autzen_color_small.las",
    "scans/airborne/autzen_trim.laz",
    "scans/airborne/lone_star.laz",
    "scans/pcd/samp11-utm.pcd",
    "scans/pcd/samp11-utm-ground.pcd",
    "scans/pcd/room_scan1.pcd",
    "scans/pcd/milk.pcd",
    "scans/e57/pumpAVisualReferenceImage.e57",
    "posed/rgbd_livingroom5",
)
ASKED_MICROSECONDS = 65


def scan_rows(methods: list[str]) -> list[dict[str, str]]:
    """A row for each scan and method; distances from the points to the surface are in spacings of the points."""
    rows = []
    for name in SCANS:
        try:
            cloud = read(DATA / name, ReadOptions())
        except UserError as problem:
            print(f"{name}: skipped, {problem}", file=sys.stderr)
            continue
        if isinstance(cloud, PointCloud):
            rows += [_row(name, cloud, method) for method in methods]
    return rows


def _row(name: str, cloud: PointCloud, method: str) -> dict[str, str]:
    row = {"scan": name, "points": f"{len(cloud.points):,}", "method": method}
    try:
        mesh, costs = timed(lambda: solve(method, cloud, 0.0))
    except UserError as problem:
        print(f"{name} {method}: failed, {problem}", file=sys.stderr)
        return {**row, "µs a point": "failed"}
    spacing = spacing_of(cloud.points)
    distances = point_distances(mesh, cloud.points) / spacing
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    microseconds = 1e6 * costs["CPU s"] / len(cloud.points)
    row |= {
        "µs a point": f"{microseconds:.0f}" + (" ✗" if microseconds > ASKED_MICROSECONDS else ""),
        "CPU s": f"{costs['CPU s']:.1f}",
        "MB": f"{costs['MB']:.0f}",
        "faces": f"{len(mesh.faces):,}",
        "parts": str(topology.parts),
        "loops": str(topology.boundary_loops),
        "nm": str(topology.non_manifold_edges),
        "spacing": f"{spacing:.4g}",
        "mean": f"{distances.mean():.3f}",
        "95 %": f"{np.quantile(distances, 0.95):.2f}",
        "max": f"{distances.max():.1f}",
    }
    print("  ".join(row.values()), file=sys.stderr)
    return row
