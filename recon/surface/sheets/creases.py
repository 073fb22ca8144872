"""Vertices moved onto creases and corners, which a smooth field rounds off.

Near a crease the tangent planes of the samples around a vertex belong to two faces, near a corner to three or more, and
the place x that is nearest to all of them, with sum w_j (n_j . (x - p_j))^2 least, lies on it (the quadric error of
Kobbelt et al. 2001 and of dual contouring, Ju et al. 2002). Along directions that the planes do not determine the
vertex stays. On a surface that merely bends, planes do not meet in one place: there the error hardly falls, and nothing
moves.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

from recon.fields.sheet_field import SheetField
from recon.surface.sheets.borders import Mesh

WIDTH = 1.0  # of the Gaussian weights, in spacings
SHARP = 0.8  # |cos| between the axes of neighbours: less may be a crease
DETERMINED = 0.1  # of the weight of all planes is what they hold a direction with
MEETS = 0.4  # the error that a crease leaves, in that at the vertex
FARTHEST = 1.2  # spacings that a vertex is moved
LEAST_TURN, LEAST_AREA = 0.2, 0.1  # cosine between a face and what it was, and its area in that


def with_creases(mesh: Mesh, field: SheetField) -> Mesh:
    """The mesh with its vertices beside creases and corners moved onto them."""
    vertices = mesh.vertices.copy()
    nearest = field.tree.query(vertices)[1]
    beside = np.flatnonzero(_beside_creases(field.axes, field.neighbours)[nearest])
    nearest, spacing = nearest[beside], field.spacing[nearest[beside]]
    planes = field.neighbours[nearest]
    offset = field.points[planes] - vertices[beside, None]
    axes = field.axes[planes]
    square = (offset**2).sum(2)
    square -= square.min(1, keepdims=True)  # far from all samples the nearest counts; its weight is no zero
    weight = np.exp(-0.5 * square / (WIDTH * spacing[:, None]) ** 2)
    weight /= weight.sum(1, keepdims=True)
    height = (axes * offset).sum(2)
    matrix = np.swapaxes(axes * weight[..., None], 1, 2) @ axes
    held, directions = np.linalg.eigh(matrix)
    right = ((weight * height)[..., None] * axes).sum(1)
    along = (directions * right[..., None]).sum(1) * np.where(held > DETERMINED, 1 / np.maximum(held, DETERMINED), 0)
    move = (directions * along[:, None]).sum(2)
    before = (weight * height**2).sum(1)
    after = (weight * ((axes * move[:, None]).sum(2) - height) ** 2).sum(1)
    meet = (after < MEETS**2 * before) & (held[:, 1] > DETERMINED)
    meet &= np.linalg.norm(move, axis=1) < FARTHEST * spacing
    _move(vertices, mesh.faces, beside[meet], move[meet])
    return Mesh(vertices, mesh.faces)


@njit(cache=True)
def _beside_creases(axes: Float64[np.ndarray, "n 3"], neighbours: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Whether the axes of a sample and of one of its neighbours differ as those on two sides of a crease."""
    beside = np.zeros(len(axes), np.bool_)
    for n in range(len(axes)):
        for j in neighbours[n]:
            cosine = axes[n, 0] * axes[j, 0] + axes[n, 1] * axes[j, 1] + axes[n, 2] * axes[j, 2]
            if abs(cosine) < SHARP:
                beside[n] = True
                break
    return beside


def _move(
    vertices: Float64[np.ndarray, "v 3"],
    faces: Int64[np.ndarray, "f 3"],
    which: Int64[np.ndarray, " m"],
    moves: Float64[np.ndarray, "m 3"],
) -> None:
    """Moves the vertices `which` in place, the nearest to their creases first, where no face is turned by that: of the
    vertices on both sides of a crease one row comes to lie on it."""
    order = np.argsort((moves**2).sum(1), kind="stable")
    rank = np.full(len(vertices), -1)
    rank[which[order]] = np.arange(len(order))
    corners = np.flatnonzero(rank[faces.ravel()] >= 0)
    at = rank[faces.ravel()[corners]]
    corners = corners[np.argsort(at, kind="stable")]
    first = np.searchsorted(np.sort(at), np.arange(len(order) + 1))
    _move_in_order(vertices, faces, which[order], moves[order], first, corners // 3)


@njit(cache=True)
def _move_in_order(vertices, faces, which, moves, first, faces_at):
    """`faces_at[first[n]:first[n + 1]]` are the faces at which[n]."""
    count = len(faces_at)
    before = np.empty((count, 3))
    for n in range(count):
        before[n] = _span(vertices, faces[faces_at[n]])
    for n in range(len(which)):
        vertices[which[n]] += moves[n]
        for m in range(first[n], first[n + 1]):
            after = _span(vertices, faces[faces_at[m]])
            along = after @ before[m]
            if along < LEAST_TURN * np.sqrt((after @ after) * (before[m] @ before[m])) or (
                after @ after < LEAST_AREA**2 * (before[m] @ before[m])
            ):
                vertices[which[n]] -= moves[n]
                break


@njit(cache=True)
def _span(vertices, face):
    """Twice a face's area, along its normal."""
    a, b, c = vertices[face[0]], vertices[face[1]], vertices[face[2]]
    p0, p1, p2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    q0, q1, q2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return np.array([p1 * q2 - p2 * q1, p2 * q0 - p0 * q2, p0 * q1 - p1 * q0])
