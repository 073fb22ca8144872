"""How the outlines move from one kept slice to the next: a smooth displacement, found from all labels at once.

Halfway between the slices A and B, u(x) (in pixels) says that what is at x - u/2 in A is at x + u/2 in B. It minimises

    sum over labels |A_l(x - u/2) - B_l(x + u/2)|^2 + STIFFNESS |grad u|^2,

A_l and B_l being the signed distances to the label, clipped at `REACH` pixels. Gauss-Newton goes from coarse pixels, as
large as the gap is wide, to fine ones: each round linearises the differences and solves for u by over-relaxation. A
label that is on one of the slices only says nothing, nor does the background: its outline is that of the labels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from numba import njit

from recon.methods.morphing.distances import SliceFields
from recon.methods.morphing.slices import Stack
from recon.scene import Scene
from recon.slices import BACKGROUND

REACH = 3.0
ROUNDS = 3
SWEEPS = 15
OVER_RELAXATION = 1.7


class MotionStage:
    """The displacements across all gaps between consecutive slices, one gap a step."""

    name = "motion"

    def __init__(self, stack: Stack, fields: Callable[[int], SliceFields], stiffness: float) -> None:
        """`fields(n)` gives those of the stack's slice n."""
        self.fields, self.stiffness = fields, stiffness
        self.steps = len(stack.positions) - 1
        self.widths = np.diff(stack.positions) * stack.thickness
        self.displacements = np.zeros((self.steps, *stack.painted.shape[1:], 2), np.float32)

    def step(self, i: int) -> dict[str, float]:
        """Registers slice i with the next; the loss is the mean displacement in pixels."""
        self.displacements[i] = displacement(self.fields(i), self.fields(i + 1), self.widths[i], self.stiffness)
        return {"displacement": float(np.abs(self.displacements[i]).mean())}

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"displacements": self.displacements}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.displacements = state["displacements"]

    def preview(self) -> Scene | None:
        return None

    def result(self) -> Float32[np.ndarray, "gaps rows columns 2"]:
        return self.displacements


def displacement(
    a: SliceFields, b: SliceFields, width: float, stiffness: float
) -> Float32[np.ndarray, "rows columns 2"]:
    """u at the pixels halfway between two slices that are `width` pixels apart, in pixels along rows and columns.

    On coarse pixels, every `step`-th, distances and displacements are in coarse pixels too.
    """
    both = sorted(a.regions.keys() & b.regions.keys() - {BACKGROUND})
    shared = [(a.regions[label], b.regions[label]) for label in both]
    rows, columns = a.painted.shape
    if not shared:
        return np.zeros((rows, columns, 2), np.float32)
    steps = [1]
    while steps[-1] < width:
        steps.append(2 * steps[-1])
    u = np.zeros((1, 1, 2), np.float32)
    for step in reversed(steps):
        u = 2 * _refined(u, (rows - 1) // step + 1, (columns - 1) // step + 1)
        for _ in range(ROUNDS):
            normal, right = np.zeros((*u.shape[:2], 3), np.float32), np.zeros_like(u)
            for first, second in shared:
                _add_label(first.distance, first.corner, second.distance, second.corner, step, u, normal, right)
            _relax(u, normal, right, stiffness)
    return u


@njit(cache=True, fastmath=True)
def sample(values, row, column):
    """Bilinear; outside the array, the value of its border."""
    rows, columns = values.shape
    row = min(max(row, 0.0), rows - 1.0)
    column = min(max(column, 0.0), columns - 1.0)
    i, j = min(int(row), max(rows - 2, 0)), min(int(column), max(columns - 2, 0))
    y, x = row - i, column - j
    below, beside = min(i + 1, rows - 1), min(j + 1, columns - 1)
    return (values[i, j] * (1 - x) + values[i, beside] * x) * (1 - y) + (
        values[below, j] * (1 - x) + values[below, beside] * x
    ) * y


@njit(cache=True, fastmath=True)
def sample_region(distance, corner, row, column):
    """A region's distance at a pixel position; outside its box, farther by the distance to the box."""
    row, column = row - corner[0], column - corner[1]
    past_row = max(-row, row - (distance.shape[0] - 1), 0.0)
    past_column = max(-column, column - (distance.shape[1] - 1), 0.0)
    inside = sample(distance, row, column)
    if past_row == 0 and past_column == 0:
        return inside
    return inside + np.sqrt(past_row * past_row + past_column * past_column)


@njit(cache=True, fastmath=True)
def _add_label(a, corner_a, b, corner_b, step, u, normal, right):
    """Adds one label's linearised differences d - g . du = 0 to the normal equations, in pixels of `step`."""
    rows, columns = u.shape[:2]
    pad = int(REACH) + 2
    top = max(min(corner_a[0], corner_b[0]) // step - pad, 0)
    left = max(min(corner_a[1], corner_b[1]) // step - pad, 0)
    bottom = min(max(corner_a[0] + a.shape[0], corner_b[0] + b.shape[0]) // step + pad, rows)
    end = min(max(corner_a[1] + a.shape[1], corner_b[1] + b.shape[1]) // step + pad, columns)
    total = np.empty((max(bottom - top, 0), max(end - left, 0)), np.float32)
    difference = np.empty_like(total)
    for i in range(top, bottom):
        for j in range(left, end):
            y, x = u[i, j, 0] / 2, u[i, j, 1] / 2
            at_a = sample_region(a, corner_a, (i - y) * step, (j - x) * step) / step
            at_b = sample_region(b, corner_b, (i + y) * step, (j + x) * step) / step
            at_a, at_b = min(max(at_a, -REACH), REACH), min(max(at_b, -REACH), REACH)
            total[i - top, j - left] = at_a + at_b
            difference[i - top, j - left] = at_a - at_b
    for i in range(1, total.shape[0] - 1):
        for j in range(1, total.shape[1] - 1):
            gy = (total[i + 1, j] - total[i - 1, j]) / 4
            gx = (total[i, j + 1] - total[i, j - 1]) / 4
            d = difference[i, j]
            m, n = i + top, j + left
            normal[m, n, 0] += gy * gy
            normal[m, n, 1] += gy * gx
            normal[m, n, 2] += gx * gx
            right[m, n, 0] += gy * d
            right[m, n, 1] += gx * d


@njit(cache=True, fastmath=True)
def _relax(u, normal, right, stiffness):
    """Over-relaxation, chequerwise, of the linearised minimum: (normal - stiffness Laplacian) u = right + normal u0."""
    rows, columns = u.shape[:2]
    target = np.empty_like(u)
    for i in range(rows):
        for j in range(columns):
            target[i, j, 0] = right[i, j, 0] + normal[i, j, 0] * u[i, j, 0] + normal[i, j, 1] * u[i, j, 1]
            target[i, j, 1] = right[i, j, 1] + normal[i, j, 1] * u[i, j, 0] + normal[i, j, 2] * u[i, j, 1]
    for sweep in range(2 * SWEEPS):
        for i in range(rows):
            for j in range((i + sweep) % 2, columns, 2):
                count, around_y, around_x = 0, 0.0, 0.0
                for m, n in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if 0 <= m < rows and 0 <= n < columns:
                        count += 1
                        around_y += u[m, n, 0]
                        around_x += u[m, n, 1]
                a = normal[i, j, 0] + stiffness * count
                b = normal[i, j, 1]
                c = normal[i, j, 2] + stiffness * count
                y = target[i, j, 0] + stiffness * around_y
                x = target[i, j, 1] + stiffness * around_x
                determinant = a * c - b * b
                u[i, j, 0] += OVER_RELAXATION * ((y * c - x * b) / determinant - u[i, j, 0])
                u[i, j, 1] += OVER_RELAXATION * ((x * a - y * b) / determinant - u[i, j, 1])


@njit(cache=True, fastmath=True)
def _refined(u, rows, columns):
    """The same field on pixels of half the size."""
    fine = np.empty((rows, columns, 2), np.float32)
    for i in range(rows):
        for j in range(columns):
            fine[i, j, 0] = sample(u[:, :, 0], i / 2, j / 2)
            fine[i, j, 1] = sample(u[:, :, 1], i / 2, j / 2)
    return fine


@njit(cache=True, fastmath=True)
def on_slice(u, side):
    """u carried from halfway to a slice's pixels: p + side u(m) / 2 = m, with side 1 on A and -1 on B."""
    rows, columns = u.shape[:2]
    carried = np.empty_like(u)
    for i in range(rows):
        for j in range(columns):
            y, x = u[i, j, 0], u[i, j, 1]
            for _ in range(4):
                y, x = (
                    sample(u[:, :, 0], i + side * y / 2, j + side * x / 2),
                    sample(u[:, :, 1], i + side * y / 2, j + side * x / 2),
                )
            carried[i, j, 0], carried[i, j, 1] = y, x
    return carried
