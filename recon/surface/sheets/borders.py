"""Where a surface made from samples ends: the mesh overshoots its border and is cut back to it.

The border measure at a place x of the mesh is how far the mean of the samples around it stands off sideways,

    T(x) = | sum w_i t_i / sum w_i | / s,   w_i = exp(-|p_i - x|^2 / 2 s^2),   s = 2 spacings,

with t_i the part of p_i - x in the tangent plane. At the straight edge of an evenly sampled half plane it is
sqrt(2 / pi) = .80; it grows outside and falls to nothing inside, but also in the middle of a small hole. There the
density D tells, the samples around x over those to be expected, with Gaussian weights 1.2 spacings wide. The mesh is
cut where T = .85, where D is what it is .63 spacings beyond a straight edge (.3), or where the nearest sample is 2.2
spacings away, whichever comes first. Noise of the points, which is still in them along the sheets, smears an edge: a
width s becomes sqrt(s^2 + noise^2), T falls by the ratio of the two, and D changes more slowly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.sparse import csr_array, diags_array
from scipy.special import ndtr

from recon.fields.point_tree import PointTree
from recon.fields.sheet_field import TOLERANCE, SheetField, one_sheet
from recon.surface.topology import Topology

WIDTH = 2.0
THRESHOLD = 0.85
FARTHEST = 2.2
DENSITY_WIDTH = 1.2  # spacings
BEYOND = 0.63  # spacings beyond a straight edge, the density of which cuts
FACES_OF_A_CRUMB = 2000  # at most; a face has more than a hundredth of a sample's area
FEWEST_SAMPLES = 20  # of a part
AROUND = 36  # samples within two widths of a border
OFF_CENTER = 0.2  # of the radius of a sample's neighbourhood: less is far from any border
SMOOTHING = 2
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
    """The mesh without the parts that are too small to be anything but noise: those that have the area of fewer than 20
    samples, or fewer than 20 samples on them."""
    vertices, faces = mesh
    part = Topology(faces, len(vertices)).part_of_face
    samples = np.where(np.bincount(part) < FACES_OF_A_CRUMB, 0, np.inf)
    small = np.flatnonzero(samples[part] == 0)
    if len(small) == 0:
        return mesh
    beside = field.tree.query(vertices[faces[small, 0]])[1]
    area = np.bincount(part[small], areas_of(mesh)[small] / field.spacing[beside] ** 2, len(samples))
    part_of_vertex = np.empty(len(vertices), np.int64)
    part_of_vertex[faces] = part[:, None]
    used = np.unique(faces)
    on = used[PointTree(vertices[used]).query(field.points[np.unique(field.neighbours[beside])])[1]]
    samples += np.minimum(area, np.bincount(part_of_vertex[on], minlength=len(samples)))
    if samples.max() < FEWEST_SAMPLES:
        return mesh
    return compact(Mesh(vertices, faces[(samples >= FEWEST_SAMPLES)[part]]))


def compact(mesh: Mesh) -> Mesh:
    """The mesh with only those vertices that a face uses."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    return Mesh(mesh.vertices[used], (np.cumsum(used) - 1)[mesh.faces])


def _turned_to(faces: Int64[np.ndarray, "f 3"], first: Bool[np.ndarray, "f 3"]) -> Int64[np.ndarray, "f 3"]:
    """The faces with the one vertex that is marked in front, their sense of rotation kept."""
    at = first.argmax(1)
    return np.take_along_axis(faces, (at[:, None] + np.arange(3)) % 3, 1)


def areas_of(mesh: Mesh) -> Float64[np.ndarray, "f"]:
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
