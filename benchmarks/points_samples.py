"""Normals at the points, and denser clouds (of methods with the option `upsample`), measured against the truth."""

from __future__ import annotations

import sys

import numpy as np
from points_inputs import SHAPES, Case, area_samples, cloud_of, diagonal_of, is_there, truth_of
from points_running import scene_of, timed, upsamples
from scipy.spatial import KDTree

from recon.fields.local_fits import fit_sheets
from recon.inputs import PointCloud
from recon.surface.closest import TriangleIndex

NORMALS = [
    *[Case(name, 20_000, noise) for name in SHAPES for noise in (0.0, 0.5)],
    *[Case(name, 5_000, noise) for name in ("tshirt_open", "fish") for noise in (0.0, 0.5)],
]
UPSAMPLING = [
    *[Case(name, 5_000, noise) for name in ("tshirt_open", "fish") for noise in (0.0, 0.5)],
    *[Case("tshirt_open", 20_000, noise) for noise in (0.0, 0.5)],
    Case("wingnut", 20_000, 0.5),
]
NEIGHBOURHOODS = (8, 12, 16, 24, 40, 60, 100, 150)
WORSE_AT_MOST = 1.02  # times the best neighbourhood's error
FACTORS = (4, 16)
ASKED = {  # mean distance to the truth and coverage, percent
    (Case("tshirt_open", 5_000, 0.5), 16): (0.18, 0.25),
    (Case("tshirt_open", 20_000), 4): (0.025, np.inf),
}
COVERAGE_SAMPLES = 50_000


def normals_rows(sample: str) -> list[dict[str, str]]:
    """Root mean square of the angle, in degrees, between each point's normal and the truth's at the closest point,
    which way it faces left aside; beside principal component analysis with its best neighbourhood of all."""
    fit_sheets(truth_of("sphere").vertices[:2_000])
    rows = []
    for case, points in _clouds(NORMALS, sample):
        truth = truth_of(case.input)
        true = truth.face_normals[TriangleIndex(truth.vertices[truth.faces]).closest(points).triangles]
        errors = {size: _rms_angle(_principal_normals(points, size), true) for size in NEIGHBOURHOODS}
        best = min(errors, key=lambda size: errors[size])
        sheets, costs = timed(lambda points=points: fit_sheets(points))
        error = _rms_angle(sheets.normals, true[sheets.kept])
        missed = " ✗" if error > WORSE_AT_MOST * errors[best] else ""
        rows.append(
            {
                **_head(case),
                "PCA of 16": f"{errors[16]:.2f}",
                "best PCA": f"{errors[best]:.2f} (of {best})",
                "patches": f"{error:.2f}{missed}",
                "CPU s": f"{costs['CPU s']:.2f}",
            }
        )
        print("  ".join(rows[-1].values()), file=sys.stderr)
    return rows


def upsampling_rows(methods: list[str], sample: str) -> list[dict[str, str]]:
    """Mean distance from the points to the truth, and from the truth to the nearest point, in percent."""
    rows = []
    for case, points in _clouds(UPSAMPLING, sample):
        rows.append({**_head(case), "method": "*input*", **_closeness(case, points, 1)})
        for name in filter(upsamples, methods):
            for factor in FACTORS:
                scene, costs = timed(lambda name=name, n=factor, p=points: scene_of(name, PointCloud(p), upsample=n))
                found = scene.in_user_frame().points
                if found is None:
                    continue
                measured = _closeness(case, found.points, factor)
                rows.append({**_head(case), "method": name, **measured, "CPU s": f"{costs['CPU s']:.1f}"})
                print("  ".join(rows[-1].values()), file=sys.stderr)
    return rows


def _clouds(cases: list[Case], sample: str) -> list[tuple[Case, np.ndarray]]:
    clouds = [(case, cloud_of(case, sample)) for case in cases if is_there(case.input)]
    return [(case, points) for case, points in clouds if points is not None]


def _head(case: Case) -> dict[str, str]:
    return {"input": case.title, "points": f"{case.points:,}", "noise %": f"{case.noise:g}"}


def _closeness(case: Case, points: np.ndarray, factor: int) -> dict[str, str]:
    """How near the points are to the truth, and how well they cover it; what misses the asked figure is marked."""
    truth = truth_of(case.input)
    to_truth = 100 * TriangleIndex(truth.vertices[truth.faces]).closest(points).distances.mean()
    everywhere = area_samples(truth, COVERAGE_SAMPLES, 1, np.random.default_rng(0))
    coverage = 100 * np.asarray(KDTree(points).query(everywhere)[0]).mean()
    figures = np.array([to_truth, coverage]) / diagonal_of(case.input)
    bounds = ASKED.get((case, factor), (np.inf, np.inf))
    cells = [f"{figure:.3f}" + (" ✗" if figure > bound else "") for figure, bound in zip(figures, bounds, strict=True)]
    ratio = f"{len(points) / case.points:.1f}"
    return {"times": ratio, "to truth %": cells[0], "coverage %": cells[1], "CPU s": ""}


def _principal_normals(points: np.ndarray, size: int) -> np.ndarray:
    """The direction of least variance of each point's nearest neighbours, itself among them."""
    near = points[KDTree(points).query(points, size)[1]]
    near = near - near.mean(1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", near, near))[1][:, :, 0]


def _rms_angle(normals: np.ndarray, true: np.ndarray) -> float:
    """Root mean square of the unoriented angle in degrees."""
    cosine = np.abs((normals * true).sum(1)) / np.linalg.norm(normals, axis=1)
    return float(np.degrees(np.sqrt(np.mean(np.arccos(cosine.clip(0, 1)) ** 2))))
