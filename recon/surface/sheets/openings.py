"""Gaps between random samples, which are filled, and openings, which stay.

A gap between random samples can look like a hole. That a disc holds k samples where `expected` = area / spacing^2 were
to be expected has a probability of about exp(-emptiness), emptiness = expected - k + k log(k / expected): areas as
empty as n samples leave only rarely are holes, others are filled (a scan statistic, Kulldorff 1997). Noise smears a
hole until the border measure (`recon.surface.sheets.borders`) does not show it; what is missing in it shows all the
same. So discs are sought whose emptiness n samples leave nowhere: 14.9 is asked of 20,000 samples, whose emptiest discs
have 10.5 +- 1 where there are no holes. Those with samples on all sides are holes, and the mesh is cut at their rims.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.special import xlogy

from recon.fields.sheet_field import SheetField
from recon.surface.sheets.borders import Mesh, areas_of, links_of
from recon.surface.sheets.cracks import Loops
from recon.surface.sheets.tiles import Region

AROUND_HOLES = 64  # samples around a gap, of which a quarter lies inside the surface
INSIDE_OF_GAP = 0.4  # of the area of an opening is beyond its border by the measure
DISCS = (2.0, 2.5, 3.0, 3.5, 4.0)  # radii in spacings, in which a hole shows
SPARSE = 0.6  # of the measure: less has too many samples around for an empty disc
SHORTEST_RIM = 2 * np.pi * DISCS[0]  # spacings: a shorter one is of no hole
RING = 1.75  # radii: samples nearer than this stand around a disc
RIM = 0.5  # radii around a disc in which the distance from its rim counts, and not the measure
AROUND_DISCS = 400  # samples whose spacing is that of a disc
SURELY_LARGE = 1.2  # of the largest gap
CLEARLY = 3.5  # times as large, where a fan goes on as the sheet does
THERE_AND_BACK = 3.0  # largest gaps: a fan of more area closes no gap,
ONE_WAY = 2.0  # unless it is nearly flat: of so many times the area that it spans, at most
MOST_GAPS = 2.5  # largest gaps: a closed surface has no more that lacks samples
MANY_DISCS = 6.0  # more emptiness is asked where the spacing is known less well
SOUGHT = 1.0  # more emptiness is asked of a disc whose place was sought


def at_openings(mesh: Mesh, measure: Float64[np.ndarray, "v"], field: SheetField) -> Float64[np.ndarray, "v"]:
    """The measure by which the mesh is cut. What is beyond the border stays beyond where it reaches the mesh's own
    border, or is a wall in empty space; around holes it is 1 as well, and everywhere else it is less."""
    patches = _patches_beyond(mesh, measure, field)
    opened = patches.of_those(patches.open)
    cut = np.where(opened | patches.of_those(_are_walls(patches, field)), measure, np.minimum(measure, 0.99))
    within = np.full(len(cut), -np.inf)
    discs = _empty_discs(mesh, measure, opened, field) if field.noise > 0 else ()
    for center, radius in zip(*discs, strict=True):
        within = np.maximum(within, 1 - np.linalg.norm(mesh.vertices - center, axis=1) / radius)
    return np.where((within > -RIM) & (cut < 1), 1 + within, cut)


def lacks_samples(mesh: Mesh, measure: Float64[np.ndarray, "v"], field: SheetField, within: Region) -> bool:
    """Whether a region of the mesh has more beyond the border than a few gaps between random samples. All of it counts
    together: beside two sheets that end side by side samples are nowhere far, but all along their borders; a wall put
    wrongly between sheets that can hardly be told apart stands alone."""
    share = (measure > 1)[mesh.faces].mean(1)
    centers = mesh.vertices[mesh.faces].mean(1)
    asked = (share > 0) & within(centers)
    spacing = field.spacing[field.tree.query(centers[asked])[1]]
    lacking = (share * areas_of(mesh))[asked] / spacing**2
    return bool(lacking.sum() > MOST_GAPS * largest_gap(field))


def are_empty(places: Float64[np.ndarray, "n 3"], field: SheetField) -> Bool[np.ndarray, "n"]:
    """Whether an area around each place is emptier than random samples leave one anywhere."""
    emptiness, _ = _emptiest_discs(places, _spacing_around(places, field), field)
    return emptiness > largest_gap(field) + SOUGHT


def with_gaps_filled(mesh: Mesh, field: SheetField, within: Region, all_of_them: bool = False) -> Mesh:
    """The mesh with the loops that are no more than gaps between samples closed by fans, their centres on the sheet.
    Loops that are not wholly `within` a region stay."""
    vertices, faces = mesh
    sides, start, end, loop = Loops.of(mesh)
    if len(sides) == 0:
        return mesh
    length = np.bincount(loop)
    centers = np.stack([np.bincount(loop, vertices[start, axis]) for axis in range(3)], 1) / length[:, None]
    fan = np.cross(vertices[start] - centers[loop], vertices[end] - centers[loop]) / 2
    spans = np.stack([np.bincount(loop, fan[:, axis]) for axis in range(3)], 1)
    spacing = _spacing_inside(centers, field)
    expected = np.linalg.norm(spans, axis=1) / spacing**2
    gap = expected < INSIDE_OF_GAP * largest_gap(field)
    most = SURELY_LARGE * np.where(_lies_ahead(mesh, sides, loop, fan), CLEARLY, 1.0)
    unsure = np.flatnonzero(~gap & (expected < most * largest_gap(field)))
    least = largest_gap(field) + np.where(expected[unsure] < largest_gap(field), MANY_DISCS, 0)
    gap[unsure] = _emptiness_within(unsure, loop, vertices[start], centers, field) < least
    # along the borders of two sheets and back, all in one loop, there is much to fill that adds up to little
    filling = np.bincount(loop, np.linalg.norm(fan, axis=1)) / spacing**2
    gap &= (filling < THERE_AND_BACK * largest_gap(field)) | (filling < ONE_WAY * expected)
    gap = np.ones_like(gap) if all_of_them else gap
    gap[loop[~within(vertices[start])]] = False
    number = np.cumsum(gap) - 1
    start, end, loop = start[gap[loop]], end[gap[loop]], number[loop[gap[loop]]]
    centers, spacing = centers[gap], spacing[gap]
    local = field.at(centers)
    near = np.linalg.norm(local.foot - centers, axis=1) < spacing
    centers[near] = local.foot[near]
    caps = np.stack([end, start, len(vertices) + loop], 1)
    return Mesh(np.concatenate([vertices, centers]), np.concatenate([faces, caps]))


class _Patches(NamedTuple):
    """Parts of a mesh beyond its border that hang together: the one of every vertex (-1 for none), their areas, the
    means of their vertices, and which reach the border of the mesh, which is more than a polygon that it lacks."""

    number: Int64[np.ndarray, "v"]
    area: Float64[np.ndarray, "n"]
    centers: Float64[np.ndarray, "n 3"]
    open: Bool[np.ndarray, "n"]

    def of_those(self, which: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "v"]:
        """Which vertices lie in those patches."""
        return np.append(which, False)[self.number]


def _patches_beyond(mesh: Mesh, measure: Float64[np.ndarray, "v"], field: SheetField) -> _Patches:
    vertices, faces = mesh
    beyond = np.flatnonzero(measure > 1)
    number = np.full(len(vertices), -1)
    number[beyond] = np.arange(len(beyond))
    inside = (number[faces] >= 0).all(1)
    count, number[beyond] = connected_components(links_of(number[faces[inside]], len(beyond)), directed=False)
    own, size = number[beyond], np.maximum(np.bincount(number[beyond], minlength=count), 1)
    centers = np.stack([np.bincount(own, vertices[beyond, k], count) for k in range(3)], 1) / size[:, None]
    area = np.bincount(number[faces[inside, 0]], areas_of(mesh)[inside], count)
    loops = Loops.of(mesh)
    length = np.linalg.norm(vertices[loops.start] - vertices[loops.end], axis=1)
    rim = np.bincount(loops.number, length / field.spacing[field.tree.query(vertices[loops.start])[1]])
    reached = number[loops.start[(rim > SHORTEST_RIM)[loops.number]]]
    return _Patches(number, area, centers, np.bincount(reached[reached >= 0], minlength=count) > 0)


def _are_walls(patches: _Patches, field: SheetField) -> Bool[np.ndarray, "n"]:
    """Which patches that do not reach the mesh's border are too large and too empty to be a gap between samples."""
    asked = np.flatnonzero(~patches.open & (patches.area > 0))
    spacing = _spacing_around(patches.centers[asked], field)
    large = patches.area[asked] > INSIDE_OF_GAP * largest_gap(field) * spacing**2
    emptiness, _ = _emptiest_discs(patches.centers[asked], spacing, field)
    walls = np.zeros(len(patches.area), bool)
    walls[asked] = large & (emptiness > largest_gap(field) + MANY_DISCS)
    return walls


class _Discs(NamedTuple):
    centers: Float64[np.ndarray, "d 3"]
    radii: Float64[np.ndarray, "d"]


def _empty_discs(
    mesh: Mesh, measure: Float64[np.ndarray, "v"], opened: Bool[np.ndarray, "v"], field: SheetField
) -> _Discs:
    """Discs too empty for random samples, with samples on all sides, none reaching what is `opened`: the emptiest one,
    then the emptiest whose centre is in none so far, and so on."""
    vertices, faces = mesh
    a, b = links_of(faces[measure[faces].max(1) > SPARSE], len(vertices)).nonzero()
    places = np.concatenate([vertices, (vertices[a] + vertices[b])[a < b] / 2])
    places = places[np.concatenate([measure, (measure[a] + measure[b])[a < b] / 2]) > SPARSE]
    free = KDTree(vertices[opened]).query(places)[0] if opened.any() else np.full(len(places), np.inf)
    asked = _may_be_empty(places, free, field)
    places, free = places[asked], free[asked]
    emptiness, radii = _emptiest_discs(places, _spacing_around(places, field), field)
    chosen = (emptiness > largest_gap(field) + SOUGHT) & (radii < free)
    order = np.flatnonzero(chosen)[np.argsort(-emptiness[chosen], kind="stable")]
    places, radii = places[order], radii[order]
    kept: list[int] = []
    for n in range(len(places)):
        if (np.linalg.norm(places[kept] - places[n], axis=1) >= radii[kept]).all():
            kept.append(n)
    kept = [n for n in kept if _is_surrounded(places[n], radii[n], field)]
    return _Discs(places[kept], radii[kept])


def _may_be_empty(
    places: Float64[np.ndarray, "n 3"], free: Float64[np.ndarray, "n"], field: SheetField
) -> Bool[np.ndarray, "n"]:
    """Whether the smallest disc around each place lies within what is `free`, and has less than half of the samples
    that belong there."""
    spacing = field.spacing[field.tree.query(places)[1]]
    count = field.tree.count(places, DISCS[0] * spacing)
    return (free > DISCS[0] * spacing) & (count < np.pi * DISCS[0] ** 2 / 2)


def _is_surrounded(center: Float64[np.ndarray, "3"], radius: float, field: SheetField) -> bool:
    """Whether samples stand on all sides of a disc: seen from its centre, in the plane that they are nearest to, no two
    neighbouring ones are more than a third of a turn apart."""
    offsets = field.points - center
    distance = np.linalg.norm(offsets, axis=1)
    offsets = offsets[(distance > radius) & (distance <= RING * radius)]
    plane = np.linalg.eigh(offsets.T @ offsets)[1][:, 1:]
    along, across = (offsets @ plane).T
    angles = np.sort(np.arctan2(across, along))
    return len(angles) > 2 and np.diff(angles, append=angles[0] + 2 * np.pi).max() < 2 * np.pi / 3


def _emptiness_within(
    asked: Int64[np.ndarray, "n"],
    loop: Int64[np.ndarray, "b"],
    corners: Float64[np.ndarray, "b 3"],
    centers: Float64[np.ndarray, "l 3"],
    field: SheetField,
) -> Float64[np.ndarray, "n"]:
    """The emptiness of some loops, around their centres; where noise has carried points into a hole its emptiest disc
    may be elsewhere."""
    of, places = asked, centers[asked]
    if field.noise > 0:
        sides = np.flatnonzero(np.isin(loop, asked))
        inside = centers[loop[sides]] + (corners[sides] - centers[loop[sides]]) / 3
        of, places = np.concatenate([of, loop[sides]]), np.concatenate([places, inside])
    emptiness = np.zeros(len(centers))
    np.maximum.at(emptiness, of, _emptiest_discs(places, _spacing_around(places, field), field)[0])
    return emptiness[asked]


def _lies_ahead(
    mesh: Mesh, sides: Int64[np.ndarray, "b"], loop: Int64[np.ndarray, "b"], fan: Float64[np.ndarray, "b 3"]
) -> Bool[np.ndarray, "l"]:
    """Whether a fan across each loop goes on where the faces beside it end, as across a hole, or lies over them, as
    across the border of a patch."""
    a, b, c = (mesh.vertices[mesh.faces[sides // 3, n]] for n in range(3))
    return np.bincount(loop, (fan * np.cross(b - a, c - a)).sum(1)) < 0


def largest_gap(field: SheetField) -> float:
    """The samples expected in an area that one cloud in fifty leaves empty somewhere: n exp(-expected) = .02."""
    return float(np.log(field.total)) + 4


def _emptiest_discs(
    places: Float64[np.ndarray, "n 3"], spacing: Float64[np.ndarray, "n"], field: SheetField
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """The emptiness of the emptiest disc around each place, and its radius."""
    emptiest, radii = np.full(len(places), -1.0), np.zeros(len(places))
    for radius in DISCS:
        expected = np.pi * radius**2
        count = field.tree.count(places, radius * spacing).astype(float)
        count = np.minimum(count, expected)
        emptiness = expected - count + xlogy(count, count / expected)
        emptier = emptiness > emptiest
        emptiest[emptier], radii[emptier] = emptiness[emptier], radius * spacing[emptier]
    return emptiest, radii


def _spacing_inside(places: Float64[np.ndarray, "n 3"], field: SheetField) -> Float64[np.ndarray, "n"]:
    """The spacing of the samples around a place that have neighbours on all sides: those at a border seem sparse."""
    if len(places) == 0:
        return np.zeros(0)
    around = field.tree.query(places, min(AROUND_HOLES, len(field.points)))[1]
    return np.quantile(field.spacing[around], 0.25, axis=1)


def _spacing_around(places: Float64[np.ndarray, "n 3"], field: SheetField) -> Float64[np.ndarray, "n"]:
    """The median spacing of the many samples around a place. What is empty needs a spacing exact to a twentieth, and
    the samples beside a hole seem sparse."""
    if len(places) == 0:
        return np.zeros(0)
    around = field.tree.query(places, min(AROUND_DISCS, len(field.points)))[1]
    return np.median(field.spacing[around], axis=1)
