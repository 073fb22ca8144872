"""Point clouds to surfaces, measured: accuracy against the truth, topology, CPU seconds and memory, beside baselines.

    python benchmarks/points.py                                        the figures that are asked, and those reached
    python benchmarks/points.py --tables all --methods sheets,poisson,ball-pivoting,alpha-shape
    python benchmarks/points.py --inputs tshirt_open,wingnut --methods sheets --noise 0 --seeds 3 --samples 50000

One thread. Every method first solves small clouds, so that its kernels are compiled when the clock starts; CPU seconds
are those from points to mesh. A row is the worst of its clouds (file and seeds), CPU seconds are their median. The
inputs lie in the folder that RELIEF_DATA names (../shared/data by default); what is missing there is said and skipped.

What the columns mean: CD is the mean of both mean distances x 1000 where the longest side is 2; chamfer % the same in
percent of the diagonal; F.2, F.5 the F-scores within .2 and .5 % of it; surplus are boundary loops that the truth does
not have, closed the truth's loops that the result does not have (paired one to one, each within 3 spacings of the other
on average); edge % and back % the mean distances from the result's boundary to the truth's and back; nm non-manifold
edges, nv non-manifold vertices; far the largest distance from the result to the truth, in spacings of the points; MB
the process's peak memory, libraries included.
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import argparse
import datetime
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import trimesh

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from points_baselines import BASELINES
from points_inputs import (
    ASKED,
    FROM_FILE,
    GOALS,
    SHAPES,
    SPARSE,
    Case,
    asked_of,
    cloud_of,
    diagonal_of,
    is_there,
    spacing_of,
    truth_of,
)
from points_running import problem_with, solve, timed, warm_up
from points_samples import normals_rows, upsampling_rows
from points_scans import scan_rows

from recon.errors import UserError
from recon.inputs import PointCloud
from recon.metrics import SURFACE_SAMPLES, compare_boundaries, surface_distances
from recon.surface.topology import Topology

SURFACES: dict[str, list[Case]] = {
    "accuracy": [Case(name, 20_000) for name in SHAPES],
    "noise": [Case(name, 20_000, 0.5) for name in SHAPES],
    "sparse": [Case("tshirt_open", 5_000), Case("tshirt_open", 1_000)],
    "dense": [Case("lionstatue_open", 500_000)],
    "large": [Case("terrain", count) for count in (2_000_000, 10_000_000)],
    "vipss": [Case(name, 500) for name in SPARSE],
    "density": [Case(name, 20_000, density=20) for name in ("sphere", "tshirt_open", "lionstatue_open", "fish")],
    "sheets": [Case(f"sheets_{gap}", 20_000) for gap in (0.5, 1.0, 1.5, 2.0, 4.0)],
    "noise-levels": [
        Case(name, 20_000, noise) for name in ("tshirt_open", "lionstatue_open") for noise in (0.1, 0.25, 1.0)
    ],
    "outliers": [Case(name, 20_000, noise, outliers=0.05) for name in ("tshirt_open", "fish") for noise in (0.0, 0.5)],
}
OTHERS = ("normals", "upsampling", "scans")
# Decimals of each figure, and which of several clouds' figures is shown: the worst, the median, or from least to most.
FIGURES: dict[str, tuple[int, str]] = {
    "CD": (2, "most"),
    "chamfer %": (4, "most"),
    "F.2": (4, "least"),
    "F.5": (4, "least"),
    "normals": (4, "least"),
    "parts": (0, "range"),
    "loops": (0, "range"),
    "surplus": (0, "most"),
    "closed": (0, "most"),
    "edge %": (2, "most"),
    "back %": (2, "most"),
    "nm": (0, "most"),
    "nv": (0, "most"),
    "tight": (0, "least"),
    "Euler": (0, "range"),
    "far": (1, "most"),
    "CPU s": (2, "median"),
    "MB": (0, "most"),
}
LOWER_BOUNDS = ("F.5", "normals", "tight")
PAIRED_WITHIN = 3  # spacings


def main() -> None:
    """Reads the arguments and prints the tables."""
    arguments = _arguments()
    if not arguments.json:
        machine = platform.processor() or platform.machine()
        print(f"{datetime.date.today()}, {machine}, Python {platform.python_version()}, one thread")
    methods = arguments.methods.split(",")
    for name, problem in [(name, problem_with(name)) for name in methods]:
        if problem:
            print(f"{name}: skipped, {problem}", file=sys.stderr)
            methods.remove(name)
    for name in methods:
        warm_up(name)
    measured: list[dict] = []
    for table in arguments.tables.split(","):
        if table in SURFACES:
            rows = _surface_rows(table, methods, arguments, measured)
        else:
            rows = _other_rows(table, methods, arguments)
            measured += rows
        if not arguments.json:
            _print_table(table, rows)
    if arguments.json:
        json.dump([{key: _number(value) for key, value in row.items()} for row in measured], sys.stdout, indent=1)


def _surface_rows(
    table: str, methods: list[str], arguments: argparse.Namespace, measured: list[dict]
) -> list[dict[str, str]]:
    """The rows of a table of surfaces against truths; every measurement by itself is added to `measured`."""
    rivals = ["screened-poisson"] if table == "vipss" and "screened-poisson" not in methods else []
    rows = []
    for case in _cases(table, arguments):
        found = list(_measure_all(case, [*rivals, *methods], arguments))
        measured += found
        rows += _rows(case, found)
    return rows


def _other_rows(table: str, methods: list[str], arguments: argparse.Namespace) -> list[dict[str, str]]:
    """The rows of a table of normals, of denser clouds, or of scans."""
    if table == "scans":
        return scan_rows([name for name in methods if name != "prototype"])
    seed = next((sample for sample in arguments.seeds.split(",") if sample != FROM_FILE), "3")
    return normals_rows(seed) if table == "normals" else upsampling_rows(methods, seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="sheets,poisson,ball-pivoting", help=f"also {', '.join(BASELINES)}")
    parser.add_argument("--tables", default="", help=f"all, or of {', '.join([*SURFACES, *OTHERS])}")
    parser.add_argument("--inputs", default="", help="instead of the table's own inputs")
    parser.add_argument("--noise", default="", help="instead of the table's own, in percent of the diagonal")
    parser.add_argument("--points", default="", help="instead of the table's own number")
    parser.add_argument("--seeds", default="file,3,4,5", help="the clouds of a row: the file beside the truth, samples")
    parser.add_argument("--samples", type=int, default=SURFACE_SAMPLES, help="points on a surface to measure from")
    parser.add_argument("--keep", type=Path, help="folder that takes the meshes, to be looked at")
    parser.add_argument("--json", action="store_true", help="every measurement by itself, for a program")
    arguments = parser.parse_args()
    own = arguments.inputs or arguments.noise or arguments.points
    arguments.tables = arguments.tables or ("accuracy" if own else "accuracy,noise,sparse,dense,vipss")
    arguments.tables = ",".join([*SURFACES, *OTHERS]) if arguments.tables == "all" else arguments.tables
    for table in arguments.tables.split(","):
        if table not in [*SURFACES, *OTHERS]:
            parser.error(f"--tables {table}: there is no such table")
    return arguments


def _cases(table: str, arguments: argparse.Namespace) -> list[Case]:
    """The table's cases, with what the arguments put in the place of their own."""
    cases = SURFACES[table]
    if arguments.inputs:
        cases = [replace(cases[0], input=name) for name in arguments.inputs.split(",")]
    for option, field, kind in ((arguments.noise, "noise", float), (arguments.points, "points", int)):
        if option:
            values = [kind(value) for value in option.split(",")]
            cases = [replace(case, **{field: value}) for case in cases for value in values]
    for name in {case.input for case in cases if not is_there(case.input)}:
        print(f"{name}: skipped, it is not in the data (RELIEF_DATA names the folder)", file=sys.stderr)
    return [case for case in dict.fromkeys(cases) if is_there(case.input)]


def _measure_all(case: Case, methods: list[str], arguments: argparse.Namespace) -> Iterator[dict]:
    """A measurement for each method and cloud of the case."""
    clouds = {sample: cloud_of(case, sample) for sample in arguments.seeds.split(",")}
    for name in methods:
        for sample, points in clouds.items():
            if points is None:
                continue
            names = {**asdict(case), "method": name, "cloud": sample}
            try:
                cloud, noise = PointCloud(points), 0.01 * case.noise * diagonal_of(case.input)
                mesh, costs = timed(lambda name=name, cloud=cloud, noise=noise: solve(name, cloud, noise))
                figures = _figures(mesh, truth_of(case.input), spacing_of(points), arguments.samples)
            except (UserError, RuntimeError, ValueError) as problem:
                print(f"{case.title} {case.noise} {name} {sample}: failed, {problem}", file=sys.stderr)
                yield {**names, "failed": str(problem)}
                continue
            yield {**names, **figures, **costs}
            shown = "  ".join(f"{key} {_text(key, value)}" for key, value in {**figures, **costs}.items())
            print(f"{case.title} {case.points} {case.noise} {name} {sample}: {shown}", file=sys.stderr)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                mesh.export(arguments.keep / f"{case.title}-{case.points}-{case.noise}-{name}-{sample}.ply")


def _figures(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, spacing: float, samples: int) -> dict[str, float]:
    """All that is measured of a mesh against the truth."""
    diagonal = float(np.linalg.norm(truth.extents))
    distances = surface_distances(mesh, truth, samples)
    boundaries = compare_boundaries(mesh, truth, PAIRED_WITHIN * spacing)
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    figures = {
        "CD": 1000 * distances.chamfer * 2 / float(truth.extents.max()),
        "chamfer %": 100 * distances.chamfer / diagonal,
        "F.2": distances.f_score(0.002 * diagonal),
        "F.5": distances.f_score(0.005 * diagonal),
        "normals": distances.normal_consistency,
        "parts": topology.parts,
        "loops": boundaries.loops,
        "surplus": boundaries.surplus,
        "closed": boundaries.closed,
        "edge %": _percent(boundaries.to_truth, diagonal),
        "back %": _percent(boundaries.to_result, diagonal),
        "nm": topology.non_manifold_edges,
        "nv": topology.non_manifold_vertices,
        "tight": int(topology.is_watertight),
        "Euler": topology.euler_number,
        "far": float(distances.to_truth.max()) / spacing,
    }
    return {name: float(value) for name, value in figures.items()}


def _percent(distance: float | None, diagonal: float) -> float:
    return float("nan") if distance is None else 100 * distance / diagonal


def _rows(case: Case, measured: list[dict]) -> list[dict[str, str]]:
    """The rows of one case: the truth, what is asked, the goal, and each method over its clouds."""
    if case.input in SPARSE:
        _ask_to_beat_poisson(case, measured)
    truth = truth_of(case.input)
    topology = Topology(np.asarray(truth.faces), len(truth.vertices))
    facts = {"parts": topology.parts, "loops": topology.boundary_loops, "tight": topology.is_watertight}
    rows = [{"method": "*truth*", **{k: _text(k, v) for k, v in facts.items()}, "Euler": str(topology.euler_number)}]
    for title, bounds in (("*asked*", asked_of(case)), ("*goal*", GOALS.get(case))):
        if bounds:
            rows.append({"method": title, **{key: _text(key, bound) for key, bound in bounds.items()}})
    for name in dict.fromkeys(row["method"] for row in measured):
        rows.append({"method": name, **_cells(case, [row for row in measured if row["method"] == name])})
    start = {"input": case.title, "points": f"{case.points:,}", "noise %": f"{case.noise:g}", "method": ""}
    return [{**start, **dict.fromkeys(FIGURES, ""), **row} for row in rows]


def _ask_to_beat_poisson(case: Case, measured: list[dict]) -> None:
    """Of few points no more is asked than what screened Poisson reaches on the same clouds; the goal is 30 % better."""
    rival = [row["CD"] for row in measured if row["method"] == "screened-poisson" and "CD" in row]
    if rival:
        ASKED[case] = {**ASKED.get(case, {}), "CD": max(rival)}
        GOALS[case] = {**GOALS.get(case, {}), "CD": 0.7 * max(rival)}


def _cells(case: Case, clouds: list[dict]) -> dict[str, str]:
    """One method's figures over the clouds of a case; those that miss what is asked are marked."""
    done = [row for row in clouds if "failed" not in row]
    if len(done) < len(clouds):
        return {"CD": f"failed on {len(clouds) - len(done)} of {len(clouds)}"}
    cells = {}
    for name, (_, kind) in FIGURES.items():
        values = [row[name] for row in done if not np.isnan(row[name])]
        if not values:
            continue
        if kind == "range" and min(values) != max(values):
            cells[name] = f"{_text(name, min(values))} to {_text(name, max(values))}"
            continue
        value = {"most": max, "least": min, "range": max, "median": np.median}[kind](values)
        cells[name] = _text(name, value) + _mark(name, float(value), asked_of(case).get(name))
    return cells


def _mark(name: str, value: float, bound: float | None) -> str:
    """A cross where the value, as it is shown, misses the bound."""
    if bound is None:
        return ""
    shown = round(value, FIGURES[name][0])
    return " ✗" if (shown < bound if name in LOWER_BOUNDS else shown > bound) else ""


def _text(name: str, value: float) -> str:
    """A figure as the tables show it."""
    if name == "tight":
        return "yes" if value else "no"
    return f"{value:.{FIGURES[name][0]}f}"


def _number(value: object) -> object:
    """What JSON has for it: nothing for what is not a number."""
    return None if isinstance(value, float) and np.isnan(value) else value


def _print_table(title: str, rows: list[dict[str, str]]) -> None:
    """Prints rows as a Markdown table, without the columns that are empty throughout."""
    if not rows:
        return
    names = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in names if any(row.get(name) for row in rows)]
    print(f"\n### {title}\n\n| {' | '.join(names)} |\n|{' --- |' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(row.get(name, '') for name in names)} |")


if __name__ == "__main__":
    main()
