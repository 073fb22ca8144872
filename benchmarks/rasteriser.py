"""The rasteriser's time and accuracy on the CPU, as a table.

    python benchmarks/rasteriser.py

One thread, CPU milliseconds, compile time left out; the median of several runs. Times hold on one machine only: the
first line gives those of a fixed loop of numpy, to compare machines by. The points of the garden lie in the folder that
RELIEF_DATA names (../shared/data by default).
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from render.splats import Splats, rasterize

GARDEN = Path("posed", "gsplat_test_garden", "test_garden.npz")
CASES = ((10_000, 256, 256), (50_000, 400, 400), (138_766, 800, 600))


def main() -> None:
    """Prints the table."""
    file = Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data")) / GARDEN
    if not file.is_file():
        sys.exit(f"{file} is missing: set RELIEF_DATA to the folder that holds {GARDEN}")
    numbers = np.random.default_rng(0).random(4_000_000, np.float32)
    print(f"calibration: e^-x of 4 million float32 {median_ms(lambda: np.exp(-numbers)):.1f} ms\n")
    print("| Gaussians | picture | forward | backward | both | forward, geometry | backward, geometry |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        print(row(file, *case))


def row(file: Path, n: int, width: int, height: int) -> str:
    """One line of the table."""
    splats, view, intrinsics = garden(file, n, width, height)
    weights = torch.randn(height, width, 8, generator=torch.Generator().manual_seed(0))
    times = []
    for geometry in (False, True):

        def forward(geometry: bool = geometry):
            return rasterize(splats, view, intrinsics, width, height, geometry=geometry)

        picture = forward()
        outputs = [picture.color, picture.alpha, picture.depth, picture.normal]
        outputs = [tensor for tensor in outputs if tensor is not None]
        parts = weights.split([1 if tensor.dim() == 2 else 3 for tensor in outputs], -1) if geometry else None
        gradients = (
            [weights[..., :3], weights[..., 3]]
            if parts is None
            else [part.reshape(tensor.shape) for part, tensor in zip(parts, outputs, strict=True)]
        )
        times += [
            median_ms(forward),
            median_ms(lambda outputs=outputs, gradients=gradients: torch.autograd.backward(outputs, gradients, True)),
        ]
    color, back, full, full_back = times
    return (
        f"| {n} | {width}x{height} | {color:.1f} | {back:.1f} | {color + back:.1f} "
        f"| {full:.1f} ({full / color:.2f}x) | {full_back:.1f} ({full_back / back:.2f}x) |"
    )


def garden(file: Path, n: int, width: int, height: int) -> tuple[Splats, torch.Tensor, torch.Tensor]:
    """The garden's points as Gaussians as large as their neighbours are far, seen by its first camera."""
    data, random = np.load(file), np.random.default_rng(0)
    chosen = random.permutation(len(data["means3d"]))[:n] if n < len(data["means3d"]) else slice(None)
    means, colors = data["means3d"][chosen], data["colors"][chosen] / 255
    spacing = cKDTree(means).query(means, k=4)[0][:, 1:].mean(1, keepdims=True)
    log_scales = np.log(np.maximum(spacing, 1e-6)) + 0.4 * random.normal(size=(n, 3))
    sh = 0.05 * random.normal(size=(n, 16, 3))
    sh[:, 0] = (colors - 0.5) / 0.28209479
    fields = (means, log_scales, random.normal(size=(n, 4)), 0.5 + 1.5 * random.normal(size=n), sh)
    intrinsics = data["Ks"][0] * np.array([[width / data["width"]], [height / data["height"]], [1]])
    splats = Splats(*(torch.tensor(field, dtype=torch.float32).requires_grad_() for field in fields))
    return splats, torch.tensor(data["viewmats"][0]).float(), torch.tensor(intrinsics).float()


def median_ms(work: Callable[[], object], times: int = 7) -> float:
    """CPU milliseconds of one call, after one that is not counted."""
    work()
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return 1e3 * float(np.median(took))


if __name__ == "__main__":
    main()
