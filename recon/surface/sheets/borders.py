"""Where a surface made from samples ends: the mesh overshoots its border and is cut back to it.

The border measure at a place x of the mesh is how far the mean of the samples around it stands off sideways,

    T(x) = | sum w_i t_i / sum w_i | / s,   w_i = exp(-|p_i - x|^2 / 2 s^2),   s = 2 spacings,

with t_i the part of p_i - x in the tangent plane. At the straight edge of an evenly sampled half plane it is
sqrt(2 / pi) = .80; it grows outside and falls to nothing inside, but also in the middle of a small hole. There the
density D tells, the samples around x over those to be expected, with Gaussian weights 1.2 spacings wide. The mesh is
cut where T = .85, where D is what it is .63 spacings beyond a straight edge (.3), or where the nearest sample is 2.2
spacings away, whichever comes first. Noise of the points, which is still in them along the sheets, smears an edge: a
width s becomes sqrt(s^2 + noise^2), T falls by the ratio of the two, and D changes more slowly.

A gap between random samples can look like a hole. That a disc holds k samples where `expected` = area / spacing^2 were
to be expected has a probability of about exp(-emptiness), emptiness = expected - k + k log(k / expected): areas as
empty as n samples leave only rarely are holes, others are filled (a scan statistic, Kulldorff 1997). Noise smears a
hole until neither T nor D shows it; what is missing in it shows all the same. So discs are sought whose emptiness n
samples leave nowhere: 14.9 is asked of 20,000 samples, whose emptiest discs have 10.5 +- 1 where there are no holes.
Those with samples on all sides are holes, and the mesh is cut at their rims.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.special import ndtr, xlogy

from recon.fields.sheet_field import TOLERANCE, SheetField, one_sheet
from recon.surface.sheets.tiles import Region
from recon.surface.topology import Topology

WIDTH = 2.0
THRESHOLD = 0.85
FARTHEST = 2.2
DENSITY_WIDTH = 1.2  # spacings
BEYOND = 0.63  # spacings beyond a straight edge, the density of which cuts
MOST_EXPECTED = 20.0
FACES_OF_A_CRUMB = 2000  # at most; a face has more than a hundredth of a sample's area
AROUND = 36  # samples within two widths of a border
AROUND_HOLES = 64  # samples around a gap, of which a quarter lies inside the surface
OFF_CENTER = 0.2  # of the radius of a sample's neighbourhood: less is far from any border
SMOOTHING = 2
INSIDE_OF_GAP = 0.4  # of the area of an opening is beyond its border by the measure
DISCS = (2.0, 2.5, 3.0, 3.5, 4.0)  # radii in spacings, in which a hole shows
SPARSE = 0.6  # of the measure: less has too many samples around for an empty disc
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
LEAST_WEIGHT = 0.01  # of one sample in the place: less is none
BORDER_ROUNDS = 4


class Mesh(NamedTuple):
    """Vertices and triangles, while they are being worked on."""

    vertices: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]


def border_measure(mesh: Mesh, field: SheetField, by_density: bool = True) -> Float64[np.ndarray, "v"]:
    """How near to being cut the mesh is, at 1, by that of the three measures which says most; smoothed a little. The
    density is left out where the mesh has folds and walls that no sample speaks for."""
    vertices, faces = mesh
    distance, nearest = field.tree.query(vertices)
    gap = distance / field.spacing[nearest]
    suspects = _beside_borders(field.points, field.neighbours)[nearest] | (gap > 1.2)
    measure = np.zeros(len(vertices))
    asked = np.flatnonzero(suspects)
    measure[asked] = np.maximum(_by_samples_around(mesh, asked, field, by_density), gap[asked] / FARTHEST)
    links = links_of(faces, len(vertices))
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1e-9)
    average = diags_array(1 / degree) @ links
    for _ in range(SMOOTHING):
        measure = 0.5 * measure + 0.5 * (average @ measure)
    return measure


def _by_samples_around(
    mesh: Mesh, at: Int64[np.ndarray, "m"], field: SheetField, by_density: bool
) -> Float64[np.ndarray, "m"]:
    """The larger of T and 1 - D at some vertices, each over its value at the cut."""
    if len(at) == 0:
        return np.zeros(0)
    vertices = mesh.vertices[at]
    around = field.tree.query(vertices, min(AROUND, len(field.points)))[1]
    spacing = field.spacing[around[:, 0]]
    inner = np.quantile(field.spacing[around], 0.25, axis=1)
    width = DENSITY_WIDTH * inner
    normals = _vertex_normals(mesh)[at]
    t, density = _measure(vertices, normals, around, field.points, field.axes, spacing, width, field.noise == 0)
    t *= np.hypot(1, field.noise / (WIDTH * spacing)) / THRESHOLD
    if not by_density:
        return t
    density *= (inner / width) ** 2 / (2 * np.pi)
    least_density = ndtr(-BEYOND * inner / np.hypot(width, field.noise))
    return np.maximum(t, (1 - density) / (1 - least_density))


def at_openings(mesh: Mesh, measure: Float64[np.ndarray, "v"], field: SheetField) -> Float64[np.ndarray, "v"]:
    """The measure by which the mesh is cut. What is beyond the border stays beyond where it reaches the mesh's own
    border, or is a wall in empty space; around holes it is 1 as well, and everywhere else it is less."""
    patches = _patches_beyond(mesh, measure)
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
    lacking = (share * _areas(mesh))[asked] / spacing**2
    return bool(lacking.sum() > MOST_GAPS * _largest_gap(field))


class _Patches(NamedTuple):
    """Parts of a mesh beyond its border that hang together: the one of every vertex (-1 for none), their areas, the
    means of their vertices, and which reach the border of the mesh."""

    number: Int64[np.ndarray, "v"]
    area: Float64[np.ndarray, "n"]
    centers: Float64[np.ndarray, "n 3"]
    open: Bool[np.ndarray, "n"]

    def of_those(self, which: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "v"]:
        """Which vertices lie in those patches."""
        return np.append(which, False)[self.number]


def _patches_beyond(mesh: Mesh, measure: Float64[np.ndarray, "v"]) -> _Patches:
    vertices, faces = mesh
    beyond = np.flatnonzero(measure > 1)
    number = np.full(len(vertices), -1)
    number[beyond] = np.arange(len(beyond))
    inside = (number[faces] >= 0).all(1)
    count, number[beyond] = connected_components(links_of(number[faces[inside]], len(beyond)), directed=False)
    own, size = number[beyond], np.maximum(np.bincount(number[beyond], minlength=count), 1)
    centers = np.stack([np.bincount(own, vertices[beyond, k], count) for k in range(3)], 1) / size[:, None]
    area = np.bincount(number[faces[inside, 0]], _areas(mesh)[inside], count)
    reached = number[faces.ravel()[Topology(faces, len(vertices)).boundary_sides]]
    return _Patches(number, area, centers, np.bincount(reached[reached >= 0], minlength=count) > 0)


def _are_walls(patches: _Patches, field: SheetField) -> Bool[np.ndarray, "n"]:
    """Which patches that do not reach the mesh's border are too large and too empty to be a gap between samples."""
    asked = np.flatnonzero(~patches.open & (patches.area > 0))
    spacing = _spacing_around(patches.centers[asked], field)
    large = patches.area[asked] > INSIDE_OF_GAP * _largest_gap(field) * spacing**2
    emptiness, _ = _emptiest_discs(patches.centers[asked], spacing, field)
    walls = np.zeros(len(patches.area), bool)
    walls[asked] = large & (emptiness > _largest_gap(field) + MANY_DISCS)
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
    chosen = (emptiness > _largest_gap(field) + SOUGHT) & (radii < free)
    order = np.flatnonzero(chosen)[np.argsort(-emptiness[chosen], kind="stable")]
    places, radii = places[order], radii[order]
    kept: list[int] = []
    for n in range(len(places)):
        if (np.linalg.norm(places[kept] - places[n], axis=1) >= radii[kept]).all():
            kept.append(n)
    kept = [n for n in kept if _is_surrounded(places[n], radii[n], field)]
    return _Discs(places[kept], radii[kept])


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


def trimmed(mesh: Mesh, measure: Float64[np.ndarray, "v"]) -> Mesh:
    """The part of the mesh where the measure, linear on each triangle, is at most 1."""
    vertices, faces = mesh
    inside = measure <= 1
    count = inside[faces].sum(1)
    whole, one, two = faces[count == 3], faces[count == 1], faces[count == 2]
    one = _turned_to(one, inside[one])
    two = _turned_to(two, ~inside[two])
    crossed = np.concatenate([one[:, [0, 1]], one[:, [0, 2]], two[:, [0, 1]], two[:, [0, 2]]])
    edges, cut = np.unique(np.sort(crossed, axis=1), axis=0, return_inverse=True)
    a, b = edges.T
    share = (1 - measure[a]) / np.where(measure[b] == measure[a], 1, measure[b] - measure[a])
    new = vertices[a] + share[:, None] * (vertices[b] - vertices[a])
    cut = cut.ravel() + len(vertices)
    of_one, of_two = np.split(cut[: 2 * len(one)], 2), np.split(cut[2 * len(one) :], 2)
    corner = np.stack([one[:, 0], of_one[0], of_one[1]], axis=1)
    first = np.stack([two[:, 1], two[:, 2], of_two[0]], axis=1)
    second = np.stack([of_two[0], two[:, 2], of_two[1]], axis=1)
    return compact(Mesh(np.concatenate([vertices, new]), np.concatenate([whole, corner, first, second])))


def with_gaps_filled(mesh: Mesh, field: SheetField, within: Region, all_of_them: bool = False) -> Mesh:
    """The mesh with the loops that are no more than gaps between samples closed by fans, their centres on the sheet.
    Loops that are not wholly `within` a region stay."""
    vertices, faces = mesh
    topology = Topology(faces, len(vertices))
    sides, loop = topology.boundary_sides, topology.loop_of_boundary_side
    if len(sides) == 0:
        return mesh
    start, end = faces.ravel()[sides], np.roll(faces, -1, 1).ravel()[sides]
    length = np.bincount(loop)
    centers = np.stack([np.bincount(loop, vertices[start, axis]) for axis in range(3)], 1) / length[:, None]
    fan = np.cross(vertices[start] - centers[loop], vertices[end] - centers[loop]) / 2
    spans = np.stack([np.bincount(loop, fan[:, axis]) for axis in range(3)], 1)
    spacing = _spacing_inside(centers, field)
    expected = np.linalg.norm(spans, axis=1) / spacing**2
    gap = expected < INSIDE_OF_GAP * _largest_gap(field)
    most = SURELY_LARGE * np.where(_lies_ahead(mesh, sides, loop, fan), CLEARLY, 1.0)
    unsure = np.flatnonzero(~gap & (expected < most * _largest_gap(field)))
    least = _largest_gap(field) + np.where(expected[unsure] < _largest_gap(field), MANY_DISCS, 0)
    gap[unsure] = _emptiness_within(unsure, loop, vertices[start], centers, spacing, field) < least
    # along the borders of two sheets and back, all in one loop, there is much to fill that adds up to little
    filling = np.bincount(loop, np.linalg.norm(fan, axis=1)) / spacing**2
    gap &= (filling < THERE_AND_BACK * _largest_gap(field)) | (filling < ONE_WAY * expected)
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


def _emptiness_within(
    asked: Int64[np.ndarray, "n"],
    loop: Int64[np.ndarray, "b"],
    corners: Float64[np.ndarray, "b 3"],
    centers: Float64[np.ndarray, "l 3"],
    spacing: Float64[np.ndarray, "l"],
    field: SheetField,
) -> Float64[np.ndarray, "n"]:
    """The emptiness of some loops, around their centres; where noise has carried points into a hole its emptiest disc
    may be elsewhere."""
    emptiness = np.zeros(len(centers))
    emptiness[asked] = _emptiest_discs(centers[asked], spacing[asked], field)[0]
    if field.noise > 0:
        sides = np.flatnonzero(np.isin(loop, asked))
        of = np.concatenate([asked, loop[sides]])
        inside = centers[loop[sides]] + (corners[sides] - centers[loop[sides]]) / 3
        places = np.concatenate([centers[asked], inside])
        emptiness[asked] = 0
        np.maximum.at(emptiness, of, _emptiest_discs(places, _spacing_around(places, field), field)[0])
    return emptiness[asked]


def _lies_ahead(
    mesh: Mesh, sides: Int64[np.ndarray, "b"], loop: Int64[np.ndarray, "b"], fan: Float64[np.ndarray, "b 3"]
) -> Bool[np.ndarray, "l"]:
    """Whether a fan across each loop goes on where the faces beside it end, as across a hole, or lies over them, as
    across the border of a patch."""
    a, b, c = (mesh.vertices[mesh.faces[sides // 3, n]] for n in range(3))
    return np.bincount(loop, (fan * np.cross(b - a, c - a)).sum(1)) < 0


def _largest_gap(field: SheetField) -> float:
    """The samples expected in an area that one cloud in fifty leaves empty somewhere: n exp(-expected) = .02."""
    return float(np.log(len(field.points))) + 4


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


def _may_be_empty(
    places: Float64[np.ndarray, "n 3"], free: Float64[np.ndarray, "n"], field: SheetField
) -> Bool[np.ndarray, "n"]:
    """Whether the smallest disc around each place lies within what is `free`, and has less than half of the samples
    that belong there."""
    spacing = field.spacing[field.tree.query(places)[1]]
    count = field.tree.count(places, DISCS[0] * spacing)
    return (free > DISCS[0] * spacing) & (count < np.pi * DISCS[0] ** 2 / 2)


def _spacing_around(places: Float64[np.ndarray, "n 3"], field: SheetField) -> Float64[np.ndarray, "n"]:
    """The median spacing of the many samples around a place. What is empty needs a spacing exact to a twentieth, and
    the samples beside a hole seem sparse."""
    if len(places) == 0:
        return np.zeros(0)
    around = field.tree.query(places, min(AROUND_DISCS, len(field.points)))[1]
    return np.median(field.spacing[around], axis=1)


def with_even_borders(mesh: Mesh) -> Mesh:
    """The mesh with its border vertices moved towards their two neighbours on the border: a cut through random samples
    staggers by a fraction of their spacing."""
    vertices, faces = mesh.vertices.copy(), mesh.faces
    sides = Topology(faces, len(vertices)).boundary_sides
    start, end = faces.ravel()[sides], np.roll(faces, -1, 1).ravel()[sides]
    ends = np.concatenate([start, end])
    links = np.bincount(ends, minlength=len(vertices))
    on_border = links == 2
    for _ in range(BORDER_ROUNDS):
        others = vertices[np.concatenate([end, start])]
        middle = np.stack([np.bincount(ends, others[:, k], len(vertices)) for k in range(3)], 1)[on_border] / 2
        vertices[on_border] = (vertices[on_border] + middle) / 2
    return Mesh(vertices, faces)


def without_crumbs(mesh: Mesh, field: SheetField) -> Mesh:
    """The mesh without the parts that are too small to be anything but noise: fewer than 20 samples' area."""
    vertices, faces = mesh
    part = Topology(faces, len(vertices)).part_of_face
    expected = np.where(np.bincount(part) < FACES_OF_A_CRUMB, 0, np.inf)
    small = np.flatnonzero(expected[part] == 0)
    spacing = field.spacing[field.tree.query(vertices[faces[small, 0]])[1]]
    expected += np.bincount(part[small], _areas(mesh)[small] / spacing**2, len(expected))
    if len(expected) == 0 or expected.max() < MOST_EXPECTED:
        return mesh
    return compact(Mesh(vertices, faces[(expected >= MOST_EXPECTED)[part]]))


def compact(mesh: Mesh) -> Mesh:
    """The mesh with only those vertices that a face uses."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    return Mesh(mesh.vertices[used], (np.cumsum(used) - 1)[mesh.faces])


def _turned_to(faces: Int64[np.ndarray, "f 3"], first: Bool[np.ndarray, "f 3"]) -> Int64[np.ndarray, "f 3"]:
    """The faces with the one vertex that is marked in front, their sense of rotation kept."""
    at = first.argmax(1)
    return np.take_along_axis(faces, (at[:, None] + np.arange(3)) % 3, 1)


def _areas(mesh: Mesh) -> Float64[np.ndarray, "f"]:
    a, b, c = (mesh.vertices[mesh.faces[:, n]] for n in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def links_of(faces: Int64[np.ndarray, "f 3"], count: int) -> csr_array:
    """1 where two vertices share an edge."""
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    links = csr_array((np.ones(2 * len(a)), (np.concatenate([a, b]), np.concatenate([b, a]))), (count, count))
    links.data[:] = 1
    return links


def _vertex_normals(mesh: Mesh) -> Float64[np.ndarray, "v 3"]:
    """Area-weighted, of a mesh whose faces are oriented alike around most vertices."""
    vertices, faces = mesh
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for n in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, n], normal[:, axis], len(vertices))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)


@njit(cache=True)
def _beside_borders(points, neighbours):
    """Whether each sample, or one of its neighbours, is off the centre of its neighbourhood."""
    off = np.zeros(len(points), np.bool_)
    for n in range(len(points)):
        mean, farthest = np.zeros(3), 0.0
        for j in neighbours[n]:
            square = 0.0
            for k in range(3):
                mean[k] += points[j, k] - points[n, k]
                square += (points[j, k] - points[n, k]) ** 2
            farthest = max(farthest, square)
        mean /= neighbours.shape[1]
        off[n] = (mean**2).sum() > OFF_CENTER**2 * farthest
    beside = off.copy()
    for n in range(len(points)):
        if off[n]:
            for j in neighbours[n]:
                beside[j] = True
    return beside


@njit(cache=True)
def _measure(places, normals, around, points, axes, spacing, width, exact):
    """T at places of the mesh, and the sum of the weights for D, over the samples of their sheet. Normals of a mesh
    through noise are too rough to tell sheets apart by them; without noise T is 2 where no sample is of the sheet."""
    measure, mass = np.empty(len(places)), np.zeros(len(places))
    for v in range(len(places)):
        total, m0, m1, m2 = 1e-300, 0.0, 0.0, 0.0
        for j in around[v]:
            x, y, z = points[j, 0] - places[v, 0], points[j, 1] - places[v, 1], points[j, 2] - places[v, 2]
            off = x * normals[v, 0] + y * normals[v, 1] + z * normals[v, 2]
            square = x * x + y * y + z * z
            if exact and not one_sheet(places[v], normals[v], points[j], axes[j], TOLERANCE, TOLERANCE * spacing[v]):
                continue
            if abs(off) > 0.7 * np.sqrt(square) + 0.5 * spacing[v]:
                continue
            mass[v] += np.exp(-0.5 * square / width[v] ** 2)
            w = np.exp(-0.5 * square / (WIDTH * spacing[v]) ** 2)
            total += w
            m0 += w * (x - off * normals[v, 0])
            m1 += w * (y - off * normals[v, 1])
            m2 += w * (z - off * normals[v, 2])
        measure[v] = np.sqrt(m0 * m0 + m1 * m1 + m2 * m2) / total / (WIDTH * spacing[v])
        if exact and total < LEAST_WEIGHT:
            measure[v] = 2.0
    return measure, mass
