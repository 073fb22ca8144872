"""From raw points, noisy and without normals, to clean samples of the sheets that they were taken from.

Around each point p_i the sheet is a height over a plane, a quadric patch (`recon.fields.quadrics`). Where the cloud has
no noise its points stay where they are and the patch over 16 neighbours gives the normal. Where it has, the patch
gives the place as well, and its size decides: a small one follows the noise, a large one cuts off detail. The size is
chosen per point, from local evidence. With f_m the height at p_i of the patch of size m, f_0 that of the smallest, and
l_m, l_0 their leverages (variances in units of the noise's variance s^2), the expected squared error of f_m is, but for
the bias of f_0,

    risk(m) = E (f_m - f_0)^2 - s^2 (l_0 - l_m) + s^2 l_m

because nested patches have Var(f_m - f_0) = s^2 (l_0 - l_m). The expectation is a mean over the points around p_i (an
unbiased estimate of the risk, in the spirit of Mallows 1973 and of Goldenshluger and Lepski 2011), and the least risk
wins. The points are moved onto their patches, then once more onto patches of half that size over the moved points.

The sizes on offer follow the noise around a point, in spacings: the smallest patch must average it enough to have a
normal. Whether there is noise at all is asked of the points where the cloud is smoothest, and not of plain patches
alone: two sheets a spacing apart look like noise to those (`recon.fields.consensus`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon.fields.consensus import WITNESSES, agreeing_axes, agreeing_patches, confirmed_axes
from recon.fields.neighbourhoods import distinct_along_curve, local_spacing, median_over, nearest, nearest_left
from recon.fields.outliers import in_company, off_sheets, scattered
from recon.fields.quadrics import fit_patches, mean_over, principal_axes, tangents
from recon.fields.scan_lines import without_crowded_lines

EXACT_SIZE = 16  # neighbours that give the normal where there is no noise
CLOSE_SIZE = 24  # and where they are on several sheets
ROUGH = 0.06  # residuals in spacings that raise the question whether they are
ITERATIONS = 2  # of reweighting
LEAST_NOISE = 0.055  # in spacings: below this, a cloud has no noise; the roughest clean clouds have 0.04
NOISE_QUANTILE = 0.10  # of the points, by their roughness: edges and close sheets are rough without noise

NOISE_SAMPLE = 2000
ROUNDS_OF_DOUBT = 3
EXPLAINED = 0.15  # of the roughness is left by a sheet that explains its neighbours

PILOT_SIZE = 60  # neighbours from which the noise around a point is estimated at first
PILOT_SHARE = 2 / 3  # of them have a patch, all an axis
EVIDENCE_SIZE = 50  # points over which a noise or a risk is averaged
SIZE_OF_NOISE = 70  # neighbours in the smallest patch where the noise is one spacing; in proportion elsewhere
LEAST_SIZE, MOST_SIZE = 18, 300
LADDER = np.array([1, 1.4, 2, 3])  # sizes of patches, in the smallest one's

OUTLIER_ROUNDS = 4  # outliers in company stand out when the company is gone
FEW = 100  # points, of which none is called an outlier
MOST_OUTLIERS = 0.3  # of the points; more than that is what the cloud consists of
MERE_FEW = 0.999  # kept: the rest need not be looked at again


@dataclass(frozen=True)
class Sheets:
    """Samples of surfaces, in no particular order of sheets.

    `points` (n, 3) are the input's, moved onto the local sheet where the cloud has noise; `normals` (n, 3) are unit, of
    arbitrary sign; `spacing` (n,) is the local distance between samples, sqrt(area per sample); `noise` is the standard
    deviation of the input's points across their sheets, 0 where the cloud is clean. All in the input's coordinates.
    `kept` (n,) are the indices of the input's points, ascending; the others coincide with kept ones, crowd a scan line
    (`recon.fields.scan_lines`) or are outliers.
    """

    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]
    spacing: Float64[np.ndarray, " n"]
    noise: float
    kept: Int64[np.ndarray, " n"]


class _Survey(NamedTuple):
    """What a first look tells of every point: spacing, the direction in which its neighbours vary least, how far they
    are from a quadric (in spacings), its axis, the noise's standard deviation, whether it is a stray."""

    spacing: Float64[np.ndarray, " n"]
    flat: Float64[np.ndarray, "n 3"]
    roughness: Float64[np.ndarray, " n"]
    normals: Float64[np.ndarray, "n 3"]
    noise: Float64[np.ndarray, " n"]
    stray: Bool[np.ndarray, " n"]

    def of(self, which: np.ndarray) -> _Survey:
        """That of some points."""
        return _Survey(*(values[which] for values in self))


def fit_sheets(points: Float64[np.ndarray, "n 3"]) -> Sheets:
    """Estimates the noise of a cloud, drops outliers, moves points onto their sheets and gives their normals.

    Raises:
        ValueError: coordinates that are not finite, fewer than 3 points, or all points in one place or on one line.
    """
    center, size = _extent(points)
    kept = distinct_along_curve(points)
    unit = (points[kept] - center) / size
    evened, neighbours = without_crowded_lines(unit)
    kept, unit = kept[evened], unit[evened]
    survey = _survey(unit, neighbours[:, :CLOSE_SIZE])
    for _ in range(OUTLIER_ROUNDS):
        if len(unit) < FEW or not 0 < survey.stray.sum() < MOST_OUTLIERS * len(unit):
            break
        good = ~survey.stray
        again = good.mean() < MERE_FEW
        if again:
            changed = survey.stray[neighbours[good, :CLOSE_SIZE]].any(1)
            neighbours = nearest_left(unit, neighbours, good, CLOSE_SIZE)
        kept, unit, survey = kept[good], unit[good], survey.of(good)
        if again:
            survey = _survey_again(unit, neighbours, np.flatnonzero(changed), survey)
    noise, normals, spacing = float(np.median(survey.noise)), survey.normals, survey.spacing
    if noise > 0:
        unit, normals = _denoise(unit, survey)
        neighbours = nearest(unit, EXACT_SIZE)
        spacing = local_spacing(unit, neighbours)
        good = ~off_sheets(unit, unit, normals, neighbours, spacing, np.zeros(len(unit)))
        if len(unit) >= FEW:
            kept, unit, normals, spacing = kept[good], unit[good], normals[good], spacing[good]
    moved = unit * size + center if noise > 0 else points[kept]
    back = np.argsort(kept)
    return Sheets(moved[back], normals[back], spacing[back] * size, noise * size, kept[back])


def _extent(points):
    """The centre of the points' box, and half its longest side."""
    if not np.isfinite(points).all():
        raise ValueError("the points have coordinates that are not finite")
    if len(points) < 3:
        raise ValueError(f"a surface takes at least 3 points, here are {len(points)}")
    low, high = points.min(0), points.max(0)
    size = float((high - low).max()) / 2
    if size == 0:
        raise ValueError("all points coincide: no surface passes through one point")
    centered = (points - (low + high) / 2) / size
    if np.linalg.svd(centered - centered.mean(0), compute_uv=False)[1] < 1e-9 * math.sqrt(len(points)):
        raise ValueError("all points lie on one line: no surface passes through them alone")
    return (low + high) / 2, size


def _survey(points, neighbours):
    """A first look at the points: exact patches, or where there is noise patches of one size that average it."""
    everyone = np.arange(len(points))
    spacing = local_spacing(points, neighbours)
    flat, roughness = np.empty((len(points), 3)), np.empty(len(points))
    _measure(points, neighbours, everyone, spacing, flat, roughness)
    if not _is_noisy(points, flat, neighbours, spacing, roughness):
        normals = flat.copy()
        _fit_exactly(points, neighbours, everyone, spacing, roughness, normals)
        return _judged(points, points, neighbours, spacing, flat, roughness, normals, np.zeros(len(points)))
    moved, normals, noise = _pilot(points, PILOT_SIZE)
    wanted = int(SIZE_OF_NOISE * np.median(noise / spacing) / PILOT_SHARE)
    if wanted > PILOT_SIZE:  # too few for their noise: they bend after it, and leave a part of it unseen
        moved, normals, noise = _pilot(points, min(wanted, MOST_SIZE))
    return _judged(points, moved, neighbours, spacing, flat, roughness, normals, noise)


def _survey_again(points, neighbours, changed, before):
    """The survey of points some of which, those `changed`, have other neighbours than before. In a cloud without noise
    nothing more than those is looked at."""
    if before.noise.any():
        return _survey(points, neighbours)
    spacing = local_spacing(points, neighbours)
    _, flat, roughness, normals, noise, _ = before
    _measure(points, neighbours, changed, spacing, flat, roughness)
    normals[changed] = flat[changed]
    _fit_exactly(points, neighbours, changed, spacing, roughness, normals)
    return _judged(points, points, neighbours, spacing, flat, roughness, normals, noise)


def _judged(points, moved, neighbours, spacing, flat, roughness, normals, noise):
    """The survey with its last column: which are strays."""
    stray = scattered(roughness, spacing) | in_company(neighbours)
    stray |= off_sheets(points, moved, normals, neighbours, spacing, noise)
    return _Survey(spacing, flat, roughness, normals, noise, stray)


def _measure(points, neighbours, which, spacing, flat, roughness):
    """Fills in the direction of least variance, and the roughness, of the points `which`."""
    near, sizes = neighbours[which], np.full(len(which), min(EXACT_SIZE, len(points)))
    flat[which] = principal_axes(points, near, sizes)
    # not reweighted: among few points a robust patch finds some that it passes through
    _, leverage, scale = fit_patches(points, flat, near, sizes[:, None], 1)
    roughness[which] = scale / np.sqrt(1 - leverage[:, 0]) / spacing[which]


def _pilot(points, size):
    """The points moved onto patches of one size, their normals there, and the noise around each point."""
    neighbours = nearest(points, size)
    axes = principal_axes(points, neighbours, np.full(len(points), neighbours.shape[1]))
    sizes = np.full(len(points), max(min(EXACT_SIZE, len(points)), int(PILOT_SHARE * neighbours.shape[1])))
    patches, leverage, scale = fit_patches(points, axes, neighbours, sizes[:, None], ITERATIONS)
    return *_moved(points, axes, patches[:, 0]), _pooled(scale, leverage, neighbours)


def _is_noisy(points, axes, neighbours, spacing, roughness):
    """Whether even the neighbours that agree best on a sheet scatter about it, in nearly all of a sample."""
    sample = np.arange(0, len(points), max(1, len(points) // NOISE_SAMPLE))
    scatter = roughness[sample]
    rough = scatter > ROUGH
    if neighbours.shape[1] > WITNESSES and rough.any():
        which = sample[rough]
        agreeing = agreeing_axes(points, axes, neighbours, spacing, which)
        _, distances = agreeing_patches(points, agreeing, neighbours, spacing, which)
        # of normal ones, 7 of 15 are within 2 / 3 of a standard deviation
        scatter[rough] = 1.5 * distances[:, WITNESSES // 2 - 1] / spacing[which]
    return np.quantile(scatter, NOISE_QUANTILE) > LEAST_NOISE


def _fit_exactly(points, neighbours, which, spacing, roughness, normals):
    """Replaces the normals of the points `which` of a cloud without noise (in place) by those of their patches; where
    one of several sheets explains a third of a rough point's neighbours, by that sheet's."""
    sizes = np.full((len(which), 1), min(EXACT_SIZE, len(points)))
    fits = fit_patches(points, normals, neighbours[which], sizes, ITERATIONS)[0][:, 0]
    rough = which[roughness[which] > ROUGH]
    axes = normals.copy()
    normals[which] = _slanted(axes[which], fits)
    if neighbours.shape[1] <= WITNESSES or len(rough) == 0:
        return
    axes = agreeing_axes(points, axes, neighbours, spacing, rough)
    fits, distances = agreeing_patches(points, axes, neighbours, spacing, rough)
    explained = distances[:, WITNESSES // 3 - 1] < EXPLAINED * roughness[rough] * spacing[rough]
    normals[rough[explained]] = _slanted(axes[rough[explained]], fits[explained])
    _dispel_doubt(points, neighbours, which, spacing, normals)


def _dispel_doubt(points, neighbours, which, spacing, normals):
    """Replaces normals of the points `which` (in place) where those of the neighbours contradict them and confirm
    another one; after that those that have one replaced around them are asked again."""
    for _ in range(ROUNDS_OF_DOUBT):
        axes, replaced = confirmed_axes(points, normals, neighbours[which], spacing[which])
        doubted = which[replaced]
        normals[doubted] = axes[replaced]
        fits, _ = agreeing_patches(points, normals, neighbours, spacing, doubted)
        normals[doubted] = _slanted(axes[replaced], fits)
        changed = np.zeros(len(points), bool)
        changed[doubted] = True
        which = which[changed[neighbours[which]].any(1)]


def _pooled(scale, leverage, neighbours):
    """The noise's standard deviation around each point, from residuals of patches that have spent leverage on it."""
    corrected = scale / np.sqrt(1 - leverage[:, 0])
    return median_over(corrected, neighbours[:, :EVIDENCE_SIZE])


def _denoise(points, survey):
    """The points moved onto patches of the sizes that their surroundings speak for, and their normals."""
    base = np.clip(SIZE_OF_NOISE * survey.noise / survey.spacing, LEAST_SIZE, MOST_SIZE / LADDER[-1])
    base = np.minimum(base, np.quantile(base, 0.9))  # a few large ones would make all searches long
    neighbours = nearest(points, int(base.max() * LADDER[-1]))
    most = neighbours.shape[1]
    axes = principal_axes(points, neighbours, np.minimum(1.5 * base, most).astype(int))
    sizes = np.minimum(base[:, None] * LADDER, most).astype(int)
    patches, leverage, scale = fit_patches(points, axes, neighbours, sizes, ITERATIONS)
    variance = _pooled(scale, leverage, neighbours) ** 2
    change = np.minimum((patches[:, :, 0] - patches[:, :1, 0]) ** 2, 9 * variance[:, None])
    risk = mean_over(change + 2 * variance[:, None] * leverage, neighbours, EVIDENCE_SIZE)
    chosen = np.arange(len(points)), risk.argmin(1)
    moved, normals = _moved(points, axes, patches[chosen])
    half = np.minimum(np.maximum(sizes[chosen] // 2, LEAST_SIZE // 2), most)
    patches, _, _ = fit_patches(moved, normals, neighbours, half[:, None], ITERATIONS)
    return _moved(moved, normals, patches[:, 0])


def _moved(points, axes, patches):
    """Points moved onto their patches, and the patches' unit normals there."""
    return points + patches[:, :1] * axes, _slanted(axes, patches)


def _slanted(axes, patches):
    """The unit normals of patches at their points."""
    along, across = tangents(axes)
    normals = axes - patches[:, 1:2] * along - patches[:, 2:3] * across
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)
