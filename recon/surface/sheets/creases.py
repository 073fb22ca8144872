"""Vertices moved onto creases and corners, which a smooth field rounds off.

Near a crease the tangent planes of the samples around a vertex belong to two faces, near a corner to three or more, and
the place x that is nearest to all of them, with sum w_j (n_j . (x - p_j))^2 least, lies on it (the quadric error of
Kobbelt et al. 2001 and of dual contouring, Ju et al. 2002). Along directions that the planes do not determine the
vertex stays. On a surface that merely bends, planes do not meet in one place: there the error hardly falls, and nothing
moves.
"""

from __future__ import annotations

import math

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
    nearest = nearest[beside]
    matrix, right, before = _quadrics(
        vertices[beside], nearest, field.points, field.axes, field.spacing, field.neighbours
    )
    held, directions = np.linalg.eigh(matrix)
    along = (directions * right[..., None]).sum(1) * np.where(held > DETERMINED, 1 / np.maximum(held, DETERMINED), 0)
    move = (directions * along[:, None]).sum(2)
    after = before + (move * ((matrix @ move[..., None])[..., 0] - 2 * right)).sum(1)
    meet = (after < MEETS**2 * before) & (held[:, 1] > DETERMINED)
    meet &= np.linalg.norm(move, axis=1) < FARTHEST * field.spacing[nearest]
    _move(vertices, mesh.faces, beside[meet], move[meet])
    return Mesh(vertices, mesh.faces)


@njit(cache=True)
def _quadrics(places, nearest, points, axes, spacing, neighbours):
    """The error that a move x from each place leaves in the planes of the samples around it, x' A x - 2 b . x + c, with
    weights whose sum is 1: A, b and c."""
    matrix, right, error = np.zeros((len(places), 3, 3)), np.zeros((len(places), 3)), np.zeros(len(places))
    square, height = np.empty(neighbours.shape[1]), np.empty(neighbours.shape[1])
    for v in range(len(places)):
        near = neighbours[nearest[v]]
        for m in range(len(near)):
            square[m] = height[m] = 0.0
            for k in range(3):
                offset = points[near[m], k] - places[v, k]
                square[m] += offset * offset
                height[m] += offset * axes[near[m], k]
        least, total = square.min(), 0.0  # far from all samples the nearest counts; its weight is no zero
        for m in range(len(near)):
            weight = math.exp(-0.5 * (square[m] - least) / (WIDTH * spacing[nearest[v]]) ** 2)
            total += weight
            error[v] += weight * height[m] ** 2
            for i in range(3):
                right[v, i] += weight * height[m] * axes[near[m], i]
                for k in range(3):
                    matrix[v, i, k] += weight * axes[near[m], i] * axes[near[m], k]
        error[v] /= total
        for i in range(3):
            right[v, i] /= total
            for k in range(3):
                matrix[v, i, k] /= total
    return matrix, right, error


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
