"""The rasteriser's time on the CPU, as tables: stages, threads, kernels, memory; beside gsplat's torch functions.

    python benchmarks/rasteriser.py
    python benchmarks/rasteriser.py --trained RUN        # the load of the tiles in a finished run of splats as well

One thread unless said, CPU milliseconds, compile time left out; the median of several runs. Times hold on one machine
only: the first line gives those of a fixed loop of numpy, to compare machines by. The points of the garden lie in the
folder that RELIEF_DATA names (../shared/data by default).
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from calibration import calibration_milliseconds

from render.harmonics import DC
from render.splats import Splats, rasterize
from render.splats.cpu import _Picture
from render.splats.projection import lens_of
from render.splats.records import CENTER_X, CENTER_Y, CONIC_A, CONIC_K, CONIC_R, LOG_OPACITY, TILE
from render.splats.threads import parts_of

GARDEN = Path("posed", "gsplat_test_garden", "test_garden.npz")
CASES = ((10_000, 256, 256), (50_000, 400, 400), (138_766, 800, 600))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, metavar="RUN", help="the folder of a finished run of splats")
    trained = parser.parse_args().trained
    if not garden_file().is_file():
        sys.exit(f"{garden_file()} is missing: set RELIEF_DATA to the folder that holds {GARDEN}")
    print(f"calibration: e^-x of 4 million float32 {calibration_milliseconds():.1f} ms\n")
    print("| Gaussians | picture | forward | backward | both | forward, geometry | backward, geometry |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        print(stages(*case))
    print("\n| what | measured |\n|---|---|")
    print(against_gsplat(*CASES[0]))
    print(threads_told())
    print(balance("garden, 138,766 at 800x600", *garden(*CASES[2]), 800, 600))
    if trained is not None:
        print(balance(f"{trained.name}, trained", *of_run(trained)))
    print(compilation_told())
    print(memory(*CASES[1]))


def stages(n: int, width: int, height: int) -> str:
    """A line with the times of both passes, for colour alone and with geometry.

    The four are measured in turns, so that other work on the machine reaches all of them.
    """
    splats, view, intrinsics = garden(n, width, height)
    generator = torch.Generator().manual_seed(0)
    took: list[list[float]] = []
    for _ in range(8):
        took.append([])
        for geometry in (False, True):
            start = time.process_time()
            picture = rasterize(splats, view, intrinsics, width, height, geometry=geometry)
            middle = time.process_time()
            outputs = [picture.color, picture.alpha, picture.depth, picture.normal]
            outputs = [tensor for tensor in outputs if tensor is not None]
            gradients = [torch.randn(tensor.shape, generator=generator) for tensor in outputs]
            started_again = time.process_time()
            torch.autograd.backward(outputs, gradients)
            took[-1] += [middle - start, time.process_time() - started_again]
    color, back, full, full_back = 1e3 * np.median(took[1:], axis=0)
    return (
        f"| {n:,} | {width}x{height} | {color:.1f} | {back:.1f} | {color + back:.1f} "
        f"| {full:.1f} ({full / color:.2f}x) | {full_back:.1f} ({full_back / back:.2f}x) |"
    )


def against_gsplat(n: int, width: int, height: int) -> str:
    """Both passes beside gsplat's torch functions, which need nerfacc and the pairs of Gaussian and pixel that only
    its CUDA code lists: two stand-ins and our lists take their place, and listing is not counted."""
    sys.modules["nerfacc"] = SimpleNamespace(  # pyright: ignore[reportArgumentType]
        render_weight_from_alpha=_weights, accumulate_along_rays=_accumulated
    )
    from gsplat.cuda import _torch_impl as gsplat

    splats, view, intrinsics = garden(n, width, height)
    gaussians, pixels = (torch.from_numpy(ids) for ids in pairs_of(splats, view, intrinsics, width, height))
    weights = torch.randn(height, width, 3, generator=torch.Generator().manual_seed(0))
    position = torch.linalg.inv(view)[:3, 3]

    def theirs() -> torch.Tensor:
        covariances, _ = gsplat._quat_scale_to_covar_preci(splats.quaternions, splats.log_scales.exp())
        _, centers, _, conics, _ = gsplat._fully_fused_projection(
            splats.means, covariances, view[None], intrinsics[None], width, height
        )
        color = (gsplat._spherical_harmonics(3, splats.means - position, splats.sh) + 0.5).clamp_min(0)
        opacity = torch.sigmoid(splats.opacity_logits)[None]
        zeros = torch.zeros_like(pixels)
        return gsplat.accumulate(centers, conics, opacity, color[None], gaussians, pixels, zeros, width, height)[0][0]

    def ours() -> torch.Tensor:
        return rasterize(splats, view, intrinsics, width, height).color

    with torch.no_grad():
        off = float((theirs() - ours()).abs().max())
    slow = median_ms(lambda: (theirs() * weights).sum().backward(), times=3)
    fast = median_ms(lambda: (ours() * weights).sum().backward())
    return (
        f"| gsplat's torch functions, {n:,} at {width}x{height}, {len(pixels) / 1e6:.1f} M pairs | {slow:.0f} ms, "
        f"{slow / fast:.0f} times ours ({fast:.1f} ms); pictures differ by {off:.0e} at most |"
    )


def _weights(alphas: torch.Tensor, ray_indices: torch.Tensor, n_rays: int) -> tuple[torch.Tensor, torch.Tensor]:
    """nerfacc's function for samples that stand ray by ray: transmittance times alpha, and transmittance."""
    through = torch.log1p(-alphas)
    before = through.cumsum(0, dtype=torch.float64) - through  # over all rays: float32 would lose the digits
    firsts = torch.searchsorted(ray_indices, torch.arange(n_rays)).clamp_max(len(ray_indices) - 1)
    transmittance = torch.exp(before - before[firsts][ray_indices]).float()
    return transmittance * alphas, transmittance


def _accumulated(weights: torch.Tensor, values: torch.Tensor | None, ray_indices: torch.Tensor, n_rays: int):
    """nerfacc's function: sums over the samples of each ray."""
    weighted = weights[:, None] if values is None else weights[:, None] * values
    return weighted.new_zeros(n_rays, weighted.shape[1]).index_add(0, ray_indices, weighted)


def pairs_of(splats: Splats, view: torch.Tensor, intrinsics: torch.Tensor, width: int, height: int):
    """Gaussians and pixels of all contributions, pixel by pixel, nearest first."""
    picture = picture_of(splats, view, intrinsics, width, height)
    records, found = picture.records, []
    for t in range(len(picture.starts) - 1):
        ids = picture.pairs[picture.starts[t] : picture.starts[t + 1], 0]
        y, x = np.mgrid[:TILE, :TILE].reshape(2, -1) + TILE * np.array(divmod(t, picture.columns))[:, None]
        dx, dy = (records[ids, c][:, None] - (at + 0.5) for c, at in ((CENTER_X, x), (CENTER_Y, y)))
        a, k, r = (records[ids, c][:, None] for c in (CONIC_A, CONIC_K, CONIC_R))
        alpha = np.exp(records[ids, LOG_OPACITY][:, None] - (a * (dx + k * dy) ** 2 + r * dy * dy) / 2)
        alpha = np.where((alpha >= 1 / 255) & (x < width) & (y < height), np.minimum(alpha, 0.99), 0)
        through = np.vstack([np.ones(TILE * TILE), np.cumprod(1 - alpha, 0)])[:-1]
        pixel, hit = np.nonzero(((alpha > 0) & (through > 1e-4)).T)
        found.append((ids[hit].astype(np.int64), (y * width + x)[pixel]))
    gaussians, pixels = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(pixels, kind="stable")
    return gaussians[order], pixels[order]


THREADS = """
import sys, time; sys.path[:0] = [{folder!r}]
import numpy, torch
from rasteriser import CASES, garden, rasterize
n, width, height = CASES[1]
splats, view, intrinsics = garden(n, width, height)
took, bits = ([], []), []
for turn in range(40):
    torch.set_num_threads(1 + turn % 2)
    start = time.process_time()
    color = rasterize(splats, view, intrinsics, width, height).color
    color.backward(torch.ones_like(color))
    took[turn % 2].append(time.process_time() - start)
    bits.append([color.detach(), *(tensor.grad.clone() for tensor in splats)])
    for tensor in splats:
        tensor.grad = None
one, two = (1e3 * numpy.median(times[2:]) for times in took)
equal = all(torch.equal(*tensors) for others in bits for tensors in zip(bits[0], others))
print(f"{{one:.0f}} ms on 1, {{two:.0f}} summed on 2 ({{two / one:.2f}}x), {{'the same' if equal else 'other'}} bits")
"""


def threads_told() -> str:
    """Both passes with one and two threads, CPU time summed, and whether picture and gradients are the same bits.

    Torch's own threads sleep when they have nothing to do, as in the command `relief`.
    """
    script = THREADS.format(folder=str(Path(__file__).parent))
    return f"| threads, 50,000 at 400x400, both passes | {_of_another_process(script, OMP_WAIT_POLICY='passive')} |"


def balance(name: str, splats: Splats, view: torch.Tensor, intrinsics: torch.Tensor, width: int, height: int) -> str:
    """The mean load of four threads over the largest, by the hits that each blends: computed, as if a hit took the
    same time everywhere."""
    picture = picture_of(splats, view, intrinsics, width, height)
    picture.blend("color", picture.records, np.zeros(3, np.float32))
    done = picture.done.astype(np.int64)
    forward, backward = (balance_of(parts_of(len(done), 4, work), done) for work in (np.diff(picture.starts), done))
    return f"| balance of 4 threads, {name} | forward {forward:.3f}, backward {backward:.3f} |"


def balance_of(parts: list[tuple[int, int]], done: np.ndarray) -> float:
    """Four threads of which the one that is done first takes the next part."""
    loads = np.zeros(4)
    for first, end in parts:
        loads[loads.argmin()] += done[first:end].sum()
    return loads.mean() / loads.max()


FIRST_CALL = """
import sys; sys.path[:0] = [{folder!r}]
import torch
from rasteriser import garden, rasterize, time
splats, view, intrinsics = garden(1000, 64, 64)
start = time.process_time()
rasterize(splats, view, intrinsics, 64, 64).color.sum().backward()
color = time.process_time()
rasterize(splats, view, intrinsics, 64, 64, geometry=True).normal.sum().backward()
print(f"{{color - start:.2f}} CPU s for colour, {{time.process_time() - color:.2f}} more for geometry")
"""


def compilation_told() -> str:
    """The first calls of both passes in a process: with kernels to compile, and with those kept on disk."""
    script = FIRST_CALL.format(folder=str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_of_another_process(script, NUMBA_CACHE_DIR=folder) for _ in range(2))
    return f"| first call ever | {first} |\n| first call of a process | {second} |"


def _of_another_process(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def memory(n: int, width: int, height: int) -> str:
    """Bytes of the parameters, their gradients, Adam's two moments and all that the passes keep, for each Gaussian."""
    splats, view, intrinsics = garden(n, width, height)
    picture = picture_of(splats, view, intrinsics, width, height)
    trained = 4 * sum(tensor[0].numel() * 4 for tensor in splats)
    records = picture.records[0].nbytes + picture.hits.itemsize + picture.slots.itemsize + 4 * 9
    hits = (picture.pairs.nbytes + 4 * 9 * len(picture.pairs)) / n
    return f"| memory for each of 50,000 Gaussians, Adam included | {trained + records + hits:.0f} bytes |"


def picture_of(splats: Splats, view: torch.Tensor, intrinsics: torch.Tensor, width: int, height: int) -> Any:
    """The projected Gaussians and the lists of the tiles."""
    lens = lens_of(intrinsics.numpy(), width, height)
    camera = (view.numpy(), torch.linalg.inv(view)[:3, 3].contiguous().numpy(), lens)
    degree = int(splats.sh.shape[1] ** 0.5) - 1
    return _Picture([tensor.detach().numpy() for tensor in splats], camera, degree, False, width, height)


def garden_file() -> Path:
    return Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data")) / GARDEN


def garden(n: int, width: int, height: int) -> tuple[Splats, torch.Tensor, torch.Tensor]:
    """The garden's points as Gaussians as large as their neighbours are far, seen by its first camera."""
    data, random = np.load(garden_file()), np.random.default_rng(0)
    chosen = random.permutation(len(data["means3d"]))[:n] if n < len(data["means3d"]) else slice(None)
    means, colors = data["means3d"][chosen], data["colors"][chosen] / 255
    spacing = cKDTree(means).query(means, k=4)[0][:, 1:].mean(1, keepdims=True)
    log_scales = np.log(np.maximum(spacing, 1e-6)) + 0.4 * random.normal(size=(n, 3))
    sh = 0.05 * random.normal(size=(n, 16, 3))
    sh[:, 0] = (colors - 0.5) / DC
    fields = (means, log_scales, random.normal(size=(n, 4)), 0.5 + 1.5 * random.normal(size=n), sh)
    intrinsics = data["Ks"][0] * np.array([[width / data["width"]], [height / data["height"]], [1]])
    splats = Splats(*(torch.tensor(field, dtype=torch.float32).requires_grad_() for field in fields))
    return splats, torch.tensor(data["viewmats"][0]).float(), torch.tensor(intrinsics).float()


def of_run(folder: Path) -> tuple[Splats, torch.Tensor, torch.Tensor, int, int]:
    """The trained Gaussians of a run and its first camera."""
    from recon.formats.scene_folder import read_scene_folder
    from recon.gaussians.tensors import to_splats

    scene = read_scene_folder(folder / "scene")
    camera = scene.cameras[0].camera
    view, intrinsics = (torch.tensor(matrix).float() for matrix in (camera.world_to_camera, camera.intrinsics))
    return to_splats(scene.gaussians), view, intrinsics, camera.width, camera.height


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
