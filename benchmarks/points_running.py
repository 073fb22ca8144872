"""A method for points by its name, Relief's own or a baseline, run with the clock and the memory watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import trimesh
from points_baselines import BASELINES, missing

from recon.errors import UserError
from recon.formats.meshes import whole
from recon.inputs import PointCloud
from recon.methods import method_named
from recon.scene import Scene
from recon.training import Trainer

Result = TypeVar("Result")


def problem_with(name: str) -> str | None:
    """Why there is no such method here; None where there is."""
    if name in BASELINES:
        return missing(name)
    try:
        method_named(name)
    except UserError as problem:
        return str(problem)
    return None


def solve(name: str, cloud: PointCloud, noise: float) -> trimesh.Trimesh:
    """The mesh that a method makes of the cloud, in its coordinates; baselines are told the noise."""
    return BASELINES[name](cloud.points, noise) if name in BASELINES else whole(scene_of(name, cloud))


def scene_of(name: str, cloud: PointCloud, **options: object) -> Scene:
    """What one of Relief's methods makes of the cloud at standard quality, with these options of its own."""
    function, config = method_named(name).load()
    return function(cloud, msgspec.structs.replace(config.at("standard"), **options), Trainer())  # type: ignore[attr-defined]


def upsamples(name: str) -> bool:
    """Whether the method has normals and denser clouds to give."""
    return name not in BASELINES and hasattr(method_named(name).load()[1].at("standard"), "upsample")  # type: ignore[attr-defined]


def warm_up(name: str) -> None:
    """Solves small clouds, open and closed, clean and noisy, so that everything is compiled and loaded."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((1_500, 3))
    ellipsoid = [1.0, 0.8, 0.6] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    x, y = rng.uniform(-1, 1, (2, 1_500))
    for points in (ellipsoid, np.stack([x, y, 0.3 * x**2 - 0.2 * y**3], 1)):
        for noise in (0.0, 0.02):
            solve(name, PointCloud(points + noise * rng.standard_normal(points.shape)), noise)


def timed(work: Callable[[], Result]) -> tuple[Result, dict[str, float]]:
    """The work's result, the CPU seconds that it took and the most memory that the process held meanwhile."""
    _forget_peak()
    start = time.process_time()
    result = work()
    return result, {"CPU s": time.process_time() - start, "MB": _peak_megabytes()}


def _forget_peak() -> None:
    """Starts the kernel's record of the process's peak memory anew, on Linux."""
    record = Path("/proc/self/clear_refs")
    if record.exists():
        record.write_text("5")


def _peak_megabytes() -> float:
    """The process's peak memory; not a number where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000
