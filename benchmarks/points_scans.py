"""Real scans, which have no truth: cost a point, topology, and how far the points lie from the surface."""

from __future__ import annotations

import sys

import numpy as np
from points_inputs import DATA, spacing_of
from points_running import solve, timed

from recon.errors import UserError
from recon.formats import read
from recon.formats.options import PointOptions
from recon.inputs import PointCloud
from recon.surface.deviation import point_distances
from recon.surface.topology import Topology

# Each with the options of the input that it needs: densely scanned ones are thinned, in the file's unit.
SCANS = {
    "scans/airborne/autzen_trim.laz": PointOptions(),
    "scans/airborne/lone_star.laz": PointOptions(thin=0.08),
    "scans/pcd/samp11-utm.pcd": PointOptions(),
    "scans/pcd/samp11-utm-ground.pcd": PointOptions(),
    "scans/pcd/room_scan1.pcd": PointOptions(thin=0.03),
    "scans/pcd/milk.pcd": PointOptions(),
    "scans/e57/pumpAVisualReferenceImage.e57": PointOptions(thin=0.01),
    "posed/rgbd_livingroom5": PointOptions(thin=0.01),
}
ASKED_MICROSECONDS = 65


def scan_rows(methods: list[str]) -> list[dict[str, str]]:
    """A row for each scan and method; distances from the points to the surface are in spacings of the points."""
    rows = []
    for name, options in SCANS.items():
        try:
            cloud = read(DATA / name, options)
        except UserError as problem:
            print(f"{name}: skipped, {problem}", file=sys.stderr)
            continue
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
