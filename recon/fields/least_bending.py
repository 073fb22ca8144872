"""The smoothest field on a lattice that agrees with scattered values: energy, solver, refinement.

For a field f on the nodes of a lattice of step h, rows m with value v_m and weight w_m,

    E(f) = sum_m w_m (W f - v)_m^2  +  bending * |L f|^2  +  twist * |grad L f|^2

where row m of W interpolates f trilinearly at the row's point and L is the seven-point Laplacian without its 1 / h^2.
The border of the lattice is held at given values, and L f at 0 there. Its minimum solves

    (W' w W + bending L L - twist L L L) f = W' w v

by conjugate gradients with the diagonal as preconditioner, from the coarsest of several lattices to the finest: what a
coarse one has settled over long distances, the next need not carry from node to node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32
from numba import njit


@dataclass(frozen=True)
class Lattice:
    """Nodes at origin + step * (i, j, k), `shape` of them along each axis."""

    origin: Float64[np.ndarray, "3"]
    step: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], step: float, levels: int) -> Lattice:
        """The coarsest of `levels` lattices, each of half the step of the one before; the finest has `step`."""
        coarse = step * 2 ** (levels - 1)
        nx, ny, nz = (int(n) + 2 for n in np.ceil((high - low) / coarse))
        size = coarse * (np.array([nx, ny, nz]) - 1)
        return cls((low + high - size) / 2, coarse, (nx, ny, nz))

    def refined(self) -> Lattice:
        """The lattice of half the step on the same box."""
        nx, ny, nz = self.shape
        return Lattice(self.origin, self.step / 2, (2 * nx - 1, 2 * ny - 1, 2 * nz - 1))

    @property
    def end(self) -> Float64[np.ndarray, "3"]:
        """The last node."""
        return self.origin + self.step * (np.array(self.shape) - 1)

    def nodes(self) -> Float64[np.ndarray, "n 3"]:
        """The positions of all nodes, in the order of a raveled field."""
        axes = [self.origin[k] + self.step * np.arange(self.shape[k]) for k in range(3)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Rows:
    """Where a field is known: the cell that each point lies in, its place in the cell, its weight."""

    cell: Int32[np.ndarray, "m 3"]
    place: Float32[np.ndarray, "m 3"]
    weight: Float32[np.ndarray, " m"]

    @classmethod
    def at(cls, points: Float64[np.ndarray, "m 3"], weight: Float64[np.ndarray, " m"], lattice: Lattice) -> Rows:
        """Rows for points within the lattice's box."""
        within = (points - lattice.origin) / lattice.step
        cell = np.clip(np.floor(within), 0, np.array(lattice.shape) - 2).astype(np.int32)
        return cls(cell, (within - cell).astype(np.float32), weight.astype(np.float32))

    def joined(self, other: Rows) -> Rows:
        """These rows and then the other's."""
        return Rows(
            np.concatenate([self.cell, other.cell]),
            np.concatenate([self.place, other.place]),
            np.concatenate([self.weight, other.weight]),
        )


def solve(
    field: Float32[np.ndarray, "nx ny nz"],
    rows: Rows,
    values: Float32[np.ndarray, " m"],
    bending: float,
    twist: float,
    iterations: int,
    tolerance: float = 1e-4,
) -> Float32[np.ndarray, "nx ny nz"]:
    """The field of least energy, from `field` as first guess, whose border is kept.

    Stops when the preconditioned residual has fallen by `tolerance`, or after `iterations`.
    """
    f = field.copy()
    weights = np.float32(bending), np.float32(twist)
    once, twice, product = np.zeros_like(f), np.zeros_like(f), np.zeros_like(f)
    # 42 and 324 are the diagonals of L L and of -L L L
    diagonal = np.full_like(f, 42 * bending + 324 * twist)
    right = np.zeros_like(f)
    _scatter_squares(diagonal, rows.cell, rows.place, rows.weight)
    _scatter(right, rows.cell, rows.place, rows.weight * values)
    _apply(f, product, rows.cell, rows.place, rows.weight, *weights, once, twice)
    residual = right - product
    _clear_border(residual)
    np.divide(1, diagonal, out=diagonal)
    direction = residual * diagonal
    energy = first_energy = _dot_scaled(residual, diagonal)
    for _ in range(iterations):
        if energy <= tolerance**2 * first_energy:
            break
        _apply(direction, product, rows.cell, rows.place, rows.weight, *weights, once, twice)
        _clear_border(product)
        advance = np.float32(energy / _dot(direction, product))
        next_energy = _advance(f, residual, direction, product, diagonal, advance)
        _turn(direction, residual, diagonal, np.float32(next_energy / energy))
        energy = next_energy
    return f


def refine(field: Float32[np.ndarray, "nx ny nz"]) -> Float32[np.ndarray, "mx my mz"]:
    """The field on the lattice of half the step: cubic interpolation (-1, 9, 9, -1) / 16, linear at the border."""
    for axis in range(3):
        f = np.moveaxis(field, axis, 0)
        fine = np.empty((2 * len(f) - 1, *f.shape[1:]), np.float32)
        fine[::2] = f
        fine[1::2] = 0.5 * (f[:-1] + f[1:])
        fine[3:-2:2] = (9 * (f[1:-2] + f[2:-1]) - f[:-3] - f[3:]) / 16
        field = np.moveaxis(fine, 0, axis)
    return np.ascontiguousarray(field)


def copy_border(field: Float32[np.ndarray, "nx ny nz"], source: Float32[np.ndarray, "nx ny nz"]) -> None:
    """Sets the field's border nodes to the source's."""
    for axis in range(3):
        for end in (0, -1):
            np.moveaxis(field, axis, 0)[end] = np.moveaxis(source, axis, 0)[end]


def zero_crossings(field: Float32[np.ndarray, "nx ny nz"], lattice: Lattice) -> Float64[np.ndarray, "n 3"]:
    """The points at which the field changes sign along the lattice's edges, by linear interpolation."""
    found = []
    for axis in range(3):
        f = np.moveaxis(field, axis, 0)
        a, b = f[:-1], f[1:]
        at = np.argwhere((a < 0) != (b < 0))
        start, end = a[tuple(at.T)].astype(float), b[tuple(at.T)].astype(float)
        points = np.moveaxis(at, 1, 0).astype(float)
        points[0] += start / (start - end)
        found.append(np.insert(points[1:], axis, points[0], axis=0).T)
    return lattice.origin + lattice.step * np.concatenate(found)


@njit(cache=True, fastmath=True)
def _laplacian(f, out):
    nx, ny, nz = f.shape
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            for k in range(1, nz - 1):
                around = (
                    f[i - 1, j, k] + f[i + 1, j, k] + f[i, j - 1, k] + f[i, j + 1, k] + f[i, j, k - 1] + f[i, j, k + 1]
                )
                out[i, j, k] = around - 6 * f[i, j, k]


@njit(cache=True, fastmath=True)
def _apply(f, out, cell, place, weight, bending, twist, once, twice):
    """out = (W' w W + bending L L - twist L L L) f inside the border; `once` and `twice` take L f and L L f."""
    _laplacian(f, once)
    _laplacian(once, twice)
    nx, ny, nz = f.shape
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            for k in range(1, nz - 1):
                g = twice
                around = (
                    g[i - 1, j, k] + g[i + 1, j, k] + g[i, j - 1, k] + g[i, j + 1, k] + g[i, j, k - 1] + g[i, j, k + 1]
                )
                out[i, j, k] = bending * g[i, j, k] - twist * (around - 6 * g[i, j, k])
    for m in range(cell.shape[0]):
        i, j, k = cell[m]
        a, b, c = place[m]
        a1, b1, c1 = 1 - a, 1 - b, 1 - c
        value = a1 * (b1 * (c1 * f[i, j, k] + c * f[i, j, k + 1]) + b * (c1 * f[i, j + 1, k] + c * f[i, j + 1, k + 1]))
        i1 = i + 1
        value += a * (
            b1 * (c1 * f[i1, j, k] + c * f[i1, j, k + 1]) + b * (c1 * f[i1, j + 1, k] + c * f[i1, j + 1, k + 1])
        )
        _add_to_corners(out, i, j, k, a, b, c, value * weight[m])


@njit(cache=True, fastmath=True, inline="always")
def _add_to_corners(out, i, j, k, a, b, c, value):
    """Adds a row's value to its cell's eight nodes by the row's trilinear weights."""
    near, far = (1 - a) * value, a * value
    _add_to_face(out, i, j, k, b, c, near)
    _add_to_face(out, i + 1, j, k, b, c, far)


@njit(cache=True, fastmath=True, inline="always")
def _add_to_face(out, i, j, k, b, c, value):
    """The same over the four nodes of the cell's face at i."""
    near, far = (1 - b) * value, b * value
    out[i, j, k] += near * (1 - c)
    out[i, j, k + 1] += near * c
    out[i, j + 1, k] += far * (1 - c)
    out[i, j + 1, k + 1] += far * c


@njit(cache=True, fastmath=True)
def _scatter(out, cell, place, value):
    """out += W' value."""
    for m in range(cell.shape[0]):
        i, j, k = cell[m]
        a, b, c = place[m]
        _add_to_corners(out, i, j, k, a, b, c, value[m])


@njit(cache=True, fastmath=True)
def _scatter_squares(out, cell, place, weight):
    """out += diag(W' w W)."""
    for m in range(cell.shape[0]):
        i, j, k = cell[m]
        for corner in range(8):
            di, dj, dk = corner >> 2, corner >> 1 & 1, corner & 1
            share = abs(1 - di - place[m, 0]) * abs(1 - dj - place[m, 1]) * abs(1 - dk - place[m, 2])
            out[i + di, j + dj, k + dk] += weight[m] * share * share


@njit(cache=True)
def _clear_border(f):
    f[0] = 0
    f[-1] = 0
    f[:, 0] = 0
    f[:, -1] = 0
    f[:, :, 0] = 0
    f[:, :, -1] = 0


@njit(cache=True, fastmath=True)
def _dot(a, b):
    x, y, total = a.ravel(), b.ravel(), 0.0
    for n in range(x.size):
        total += np.float64(x[n] * y[n])
    return total


@njit(cache=True, fastmath=True)
def _dot_scaled(a, scale):
    x, s, total = a.ravel(), scale.ravel(), 0.0
    for n in range(x.size):
        total += np.float64(x[n] * x[n] * s[n])
    return total


@njit(cache=True, fastmath=True)
def _advance(f, residual, direction, product, scale, advance):
    """f += advance * direction; residual -= advance * product; gives residual' scale residual."""
    x, r, p, q, s, total = f.ravel(), residual.ravel(), direction.ravel(), product.ravel(), scale.ravel(), 0.0
    for n in range(x.size):
        x[n] += advance * p[n]
        r[n] -= advance * q[n]
        total += np.float64(r[n] * r[n] * s[n])
    return total


@njit(cache=True, fastmath=True)
def _turn(direction, residual, scale, keep):
    """direction = scale * residual + keep * direction."""
    p, r, s = direction.ravel(), residual.ravel(), scale.ravel()
    for n in range(p.size):
        p[n] = s[n] * r[n] + keep * p[n]
