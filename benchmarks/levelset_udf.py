"""The published distance network on the T-shirt: what a budget reaches, and what the projection loss is for.

    python benchmarks/levelset_udf.py                     the default of a CPU: about ten minutes
    python benchmarks/levelset_udf.py --budget 1 --device cuda
    python benchmarks/levelset_udf.py --ablation          with and without the loss, three seeds, a smaller network

One thread. CD is the mean of both mean distances x 1000 where the longest side is 2; loops are counted beyond the
truth's. The ablation trains a network 128 wide for 1,500 iterations of 500 queries, and cuts the surface out by the
published rule at 128 nodes.
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import argparse
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
import trimesh

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from points_inputs import FROM_FILE, Case, cloud_of, truth_of

from recon.inputs import PointCloud
from recon.methods.levelset_udf import LevelsetUdfConfig, levelset_udf
from recon.methods.levelset_udf.losses import OBJECT
from recon.methods.levelset_udf.plan import Plan
from recon.methods.levelset_udf.published_extraction import published_surface
from recon.methods.levelset_udf.queries import SPREAD
from recon.methods.levelset_udf.stage import DistanceStage
from recon.metrics import compare
from recon.scene import Frame
from recon.training import Trainer

SMALL = Plan(iterations=1500, batch=500, on_surface=500)
SMALL_WIDTH = 128
SEEDS = (0, 1, 2)


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=None)
    parser.add_argument("--noise", type=float, default=0.0, help="percent of the diagonal")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--folder", type=Path, default=None, help="takes checkpoints, from which the same command goes on"
    )
    parser.add_argument("--ablation", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = Case("tshirt_open", 20_000, options.noise)
    cloud, truth = cloud_of(case, FROM_FILE), truth_of(case.input)
    if cloud is None:
        sys.exit(f"no cloud of the T-shirt with {options.noise} % of noise; RELIEF_DATA names the folder of the data")
    if options.ablation:
        for projection, seed in product((OBJECT.projection, 0.0), SEEDS):
            mesh, seconds = _small(cloud, projection, seed)
            print(f"projection {projection:g}, seed {seed}: {_figures(mesh, truth)}, {seconds:.0f} CPU s", flush=True)
        return
    train = Trainer(options.folder, device=options.device)
    scene = levelset_udf(PointCloud(cloud), LevelsetUdfConfig(budget=options.budget), train)
    mesh = scene.in_user_frame().mesh
    assert mesh is not None
    print(f"{_figures(mesh, truth)}, {train.records[0].cpu_seconds:.0f} CPU s of training")
    print(*scene.notes, sep="\n")


def _small(cloud: np.ndarray, projection: float, seed: int) -> tuple[trimesh.Trimesh, float]:
    """The surface that the smaller network gives, and the CPU seconds of its training."""
    frame = Frame.fitting(cloud, "unknown", (0, 0, 1))
    frame = replace(frame, scale=2 * frame.scale)
    points = frame.from_user(cloud)
    weights = OBJECT._replace(projection=projection)
    train = Trainer(seed=seed)
    field = train(DistanceStage(points, SMALL, weights, SPREAD, seed, "cpu", width=SMALL_WIDTH))
    mesh = published_surface(field.evaluate, points, 128)
    mesh.vertices = frame.to_user(np.asarray(mesh.vertices))
    return mesh, train.records[0].cpu_seconds


def _figures(mesh: trimesh.Trimesh, truth: trimesh.Trimesh) -> str:
    found = compare(mesh, truth)
    surplus = found.boundary_loops - compare(truth, truth).boundary_loops
    cd = 2000 * found.chamfer_l1 / truth.extents.max()
    return (
        f"CD {cd:.2f} ({found.chamfer_percent:.3f} %), F.5 {found.f_score_0_5:.4f}, "
        f"normals {found.normal_consistency:.4f}, {found.components} parts, {surplus:+d} loops"
    )


if __name__ == "__main__":
    main()
