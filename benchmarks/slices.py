"""Slices to surfaces, measured: accuracy against the truth and CPU seconds, beside baselines, as tables.

    python benchmarks/slices.py                      everything but the network
    python benchmarks/slices.py --methods orex       the network (10 CPU minutes a shape)
    python benchmarks/slices.py --shapes eight_parallel12,hand_oblique18

One thread. CPU seconds are those of solving and meshing, in a process that has compiled its kernels. The inputs lie in
the folder that RELIEF_DATA names (../shared/data by default); what is missing there is said and skipped.
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from scipy.interpolate import LinearNDInterpolator, PchipInterpolator, RegularGridInterpolator

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from recon.formats import SliceOptions, read
from recon.formats.meshes import whole
from recon.inputs import CrossSections
from recon.methods import method_named
from recon.methods.least_bending import LeastBendingConfig
from recon.metrics import compare, contour_error
from recon.planar import distance_to_segments, inside_on_lattice, outlines, samples
from recon.surface.marching import isosurface
from recon.training import Trainer

DATA = Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data"))
SHAPES = [f"{shape}_{cut}" for shape in ("eight", "mammoth", "hand") for cut in ("parallel12", "oblique18")]


def main() -> None:
    """Reads the arguments and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="least-bending,interpolation,poisson")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--tables", default="shapes,volumes,terrain,structures")
    arguments = parser.parse_args()
    print(
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, Python {platform.python_version()}\n"
    )
    tables: dict[str, Callable[[], list[dict]]] = {
        "shapes": lambda: shape_rows(arguments.shapes.split(","), arguments.methods.split(",")),
        "volumes": _volume_rows,
        "terrain": terrain_rows,
        "structures": structure_rows,
    }
    for name in arguments.tables.split(","):
        print_table(name, tables[name]())


def shape_rows(shapes: list[str], methods: list[str]) -> list[dict]:
    """A row per shape and method."""
    run("least-bending", read(ROOT / "data" / "slices" / "eight_parallel12.csl", SliceOptions()), "draft")
    rows = []
    for shape in shapes:
        folder = DATA / "slices" / f"crosssdf_{shape.split('_')[0]}"
        if not folder.is_dir():
            print(f"{shape}: skipped, {folder} is missing (RELIEF_DATA names the folder of the inputs)")
            continue
        sections = read(folder / f"{shape}.csl", SliceOptions())
        truth = trimesh.load_mesh(folder / "truth.stl")
        truth_euler = compare(truth, truth).euler_number
        for method in methods:
            if method == "interpolation" and "parallel" not in shape:
                continue
            start = time.process_time()
            mesh = BASELINES[method](sections) if method in BASELINES else run(method, sections)
            seconds = time.process_time() - start
            figures, error = compare(mesh, truth), contour_error(mesh, sections, truth)
            assert error is not None
            rows.append(
                {
                    "input": shape,
                    "method": method,
                    "IoU": f"{figures.iou:.4f}" if figures.iou is not None else "open",
                    "chamfer %": f"{figures.chamfer_percent:.3f}",
                    "normals": f"{figures.normal_consistency:.3f}",
                    "contour %": f"{error.mean:.3f}",
                    "parts": str(figures.components),
                    "Euler (truth)": f"{figures.euler_number} ({truth_euler})",
                    "closed": "yes" if figures.watertight else "no",
                    "CPU s": f"{seconds:.1f}",
                }
            )
            print("  ".join(rows[-1].values()), file=sys.stderr)
    return rows


def run(method: str, sections: CrossSections, quality: str = "standard") -> trimesh.Trimesh:
    """The whole mesh that a method makes, in the user's coordinates."""
    function, config = method_named(method).load()
    return whole(function(sections, config.at(quality), Trainer()))  # type: ignore[attr-defined]


def interpolation(sections: CrossSections) -> trimesh.Trimesh:
    """Shape-based interpolation (Raya & Udupa 1990): signed distances in parallel planes, joined by monotone cubics;
    beyond the last planes the sign is mirrored."""
    found = sorted(outlines(sections, sections.labels[0].id), key=lambda outline: outline.origin @ outline.normal)
    normal, axes = found[0].normal, found[0].axes
    flat = np.concatenate([outline.segments_3d.reshape(-1, 3) for outline in found]) @ axes.T
    step = float(np.ptp(flat, axis=0).max()) / 192
    low, shape = flat.min(0) - 4 * step, tuple((np.ptp(flat, axis=0) / step).astype(int) + 9)
    u, v = (low[k] + step * np.arange(shape[k]) for k in (0, 1))
    nodes = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    heights = np.array([outline.origin @ normal for outline in found])
    fields = []
    for outline in found:
        shifted = outline.segments + outline.origin @ axes.T
        points, _, segment = samples(outline, step / 2)
        from scipy.spatial import cKDTree

        at = nodes @ axes + (outline.origin @ normal) * normal
        distance = distance_to_segments(at, outline.segments_3d[segment[cKDTree(points).query(at)[1]]])
        inside = inside_on_lattice(shifted, (u[0], v[0]), step, shape)
        fields.append(np.where(inside, -1, 1) * distance.reshape(shape))
    heights = np.r_[2 * heights[0] - heights[1], heights, 2 * heights[-1] - heights[-2]]
    fields = [np.abs(fields[0]), *fields, np.abs(fields[-1])]
    levels = np.arange(heights[0], heights[-1], step)
    field = PchipInterpolator(heights, np.stack(fields))(levels)
    mesh = isosurface(field.astype(np.float32), spacing=(step,) * 3, origin=(heights[0], low[0], low[1]))
    mesh.vertices = mesh.vertices[:, :1] * normal + mesh.vertices[:, 1:] @ axes
    return mesh


def poisson(sections: CrossSections) -> trimesh.Trimesh:
    """Screened Poisson (Kazhdan & Hoppe 2013, Open3D, depth 8) of the contours with their in-plane normals."""
    from render.raycasting import import_open3d

    open3d = import_open3d()
    points, normals = [], []
    for outline in outlines(sections, sections.labels[0].id):
        at, _, segment = samples(outline, 0.01 * np.ptp(outline.segments_3d.reshape(-1, 3), axis=0).max())
        along = outline.segments_3d[segment, 1] - outline.segments_3d[segment, 0]
        across = np.cross(along, outline.normal)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        from recon.planar import inside_at

        beside = (at + 1e-4 * across - outline.origin) @ outline.axes.T
        across[inside_at(beside, outline.segments)] *= -1
        points.append(at)
        normals.append(across)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.concatenate(points)))
    cloud.normals = open3d.utility.Vector3dVector(np.concatenate(normals))
    mesh, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=8, n_threads=1)
    return trimesh.Trimesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles), process=False)


BASELINES = {"interpolation": interpolation, "poisson": poisson}


def structure_rows() -> list[dict]:
    """The structures of a real RTSTRUCT: closed, in the patient's millimetres."""
    path = DATA / "slices" / "rtstruct_breast" / "rtss.dcm"
    if not path.is_file():
        print(f"structures: skipped, {path} is missing")
        return []
    from recon.methods.least_bending import least_bending
    from recon.surface.facts import mesh_facts

    sections = read(path, SliceOptions())
    start = time.process_time()
    scene = least_bending(sections, LeastBendingConfig.at("standard"), Trainer()).in_user_frame()
    seconds = time.process_time() - start
    rows = []
    for name, mesh in scene.objects.items():
        facts = mesh_facts(mesh)
        rows.append(
            {
                "structure": name,
                "volume cm3": f"{mesh.volume / 1000:.1f}",
                "closed": "yes" if facts.watertight else "no",
                "parts": str(facts.components),
                "Euler": str(facts.euler_number),
                "faces": f"{facts.faces:,}",
            }
        )
    print(f"structures: {seconds:.1f} CPU s for {len(rows)}")
    return rows


def _volume_rows() -> list[dict]:
    from slices_volumes import volume_rows

    return volume_rows()


def terrain_rows() -> list[dict]:
    """Elevations from contours against the elevation model that the contours were drawn from, beside linear
    interpolation on the Delaunay triangulation of the contours' points."""
    folder = DATA / "slices" / "terrain_sthelens"
    if not folder.is_dir():
        print(f"terrain: skipped, {folder} is missing")
        return []
    sections, model = read(folder / "contours.geojson", SliceOptions()), np.load(folder / "truth_dem.npz")
    truth = model["z"].astype(float)[::-1]  # its first row is the northernmost
    x, y = np.meshgrid(model["dx"] * np.arange(truth.shape[1]), model["dy"] * np.arange(truth.shape[0]))
    points = np.concatenate([plane.to_world(line) for plane in sections.planes for line in plane.lines])
    linear = LinearNDInterpolator(points[:, :2], points[:, 2])(x, y)
    hull = np.isfinite(linear)
    start = time.process_time()
    mesh = run("height-field", sections)
    seconds = time.process_time() - start
    axes = [np.unique(mesh.vertices[:, k].round(6)) for k in (0, 1)]
    heights = np.asarray(mesh.vertices)[:, 2].reshape(len(axes[0]), len(axes[1]))
    ours = RegularGridInterpolator(axes, heights, bounds_error=False, fill_value=None)(np.stack([x, y], axis=-1))
    rows = []
    for name, found in (("Delaunay, linear", linear), ("height-field", ours)):
        error = (found - truth)[hull]
        rms, worst = np.sqrt(np.mean(error**2)), np.quantile(np.abs(error), 0.99)
        cpu = f"{seconds:.1f}" if name == "height-field" else ""
        rows.append({"method": name, "RMSE m": f"{rms:.2f}", "99 % of errors below m": f"{worst:.1f}", "CPU s": cpu})
    return rows


def print_table(title: str, rows: list[dict]) -> None:
    """Prints rows as a Markdown table."""
    if not rows:
        return
    print(f"\n### {title}\n\n| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


if __name__ == "__main__":
    main()
