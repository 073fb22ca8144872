"""From elevation contours to terrain: the smoothest height field through the contours that stays in their bands.

On a lattice over the contours' extent, the heights z minimise

    sum over contour samples  w (P z - level)^2  +  sum over nodes  z_uu^2 + 2 z_uv^2 + z_vv^2

with P bilinear interpolation: a thin plate with free edges (Briggs 1974). It overshoots on ridges and sinks in
valleys, although the map says more: *between two contours the ground is between their levels*, and where one level
alone bounds a region the next one would be drawn if it were reached. Nodes that leave their band are held at its
bound, and the plate is solved for again (compare Hutchinson 1989, who enforces drainage).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from jaxtyping import Float64, Int
from scipy import sparse
from scipy.ndimage import maximum_filter, minimum_filter, zoom
from scipy.sparse.linalg import cg

from recon.errors import UserError
from recon.fields.topology import connected_parts
from recon.inputs import CrossSections
from recon.limits import Cost
from recon.scene import Frame, Scene

if TYPE_CHECKING:
    import trimesh

    from recon.training import Trainer

CONTOUR_WEIGHT = 30.0
BOUND_WEIGHT = 1.0
SMALLEST = 24  # cells along the longest side of the coarsest lattice
A_FEW = 0.002
MISSED = (
    "{share:.1%} of the contours are missed by more than half an interval: there, contours of different elevations "
    "cross or are closer than a cell ({cell:.3g})."
)


class HeightFieldConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Terrain from elevation contours."""

    resolution: Annotated[int, msgspec.Meta(ge=16, le=4096)] = 500
    """Cells along the longest side of the map."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> HeightFieldConfig:
        """The config of a quality."""
        return cls(resolution={"draft": 150, "standard": 500, "high": 1000}[quality])


def height_field(sections: CrossSections, config: HeightFieldConfig, train: Trainer) -> Scene:
    """An open surface over the rectangle that the contours span.

    Raises:
        UserError: the input has no elevation contours, or contours of one level only.
    """
    if not sections.is_terrain:
        raise UserError("--method height-field: the input holds no elevation contours; use --method auto")
    points = np.concatenate([plane.to_world(line) for plane in sections.planes for line in plane.lines])
    if np.ptp(points[:, 2]) == 0:
        raise UserError(f"all contours are at elevation {points[0, 2]:g}; at least two levels are needed")
    frame = Frame.fitting(points, sections.unit, sections.up)
    lines = [frame.from_user(plane.to_world(line)) for plane in sections.planes for line in plane.lines]
    stage = HeightFieldStage(lines, config.resolution, frame)
    mesh, missed = train(stage), stage.missed_share()
    notes = (MISSED.format(share=missed, cell=stage.lattices[-1].step * frame.scale),) if missed > A_FEW else ()
    return Scene(mesh=mesh, frame=frame, notes=notes)


def estimate(sections: CrossSections, config: HeightFieldConfig, device: str) -> Cost | None:
    """About what it costs, from the nodes of its finest lattice: measured on Mount St. Helens."""
    lines = [plane.to_world(line) for plane in sections.planes for line in plane.lines]
    if not lines:
        return None
    width, height = np.ptp(np.concatenate(lines), axis=0)[:2]
    nodes = min(width, height) / max(width, height, 1e-300) * config.resolution**2
    remedy = f"--resolution {config.resolution // 2} needs a quarter of it"
    return Cost(0.4 + 5.7e-6 * nodes, 130 + 730e-6 * nodes, remedy)


class HeightFieldStage:
    """Solves from the coarsest lattice to the finest; a step is one lattice."""

    name = "heights"

    def __init__(self, lines: list[Float64[np.ndarray, "_ 3"]], resolution: int, frame: Frame) -> None:
        self.frame = frame
        self.segments = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines])
        low, high = self.segments.min((0, 1)), self.segments.max((0, 1))
        self.steps = max(1, int(np.log2(resolution / SMALLEST)) + 1)
        self.lattices = [
            _Lattice(low[:2], high[:2], float((high - low)[:2].max()) / resolution * 2**level)
            for level in reversed(range(self.steps))
        ]
        levels = np.unique(self.segments[..., 2].round(9))
        self.interval = float(np.median(np.diff(levels)))
        self.heights = np.zeros((0, 0))

    def step(self, i: int) -> dict[str, float]:
        """Solves on lattice i, starting from the one before."""
        lattice = self.lattices[i]
        guess = self.lattices[i - 1].sampled(self.heights, lattice) if i else None
        samples = _samples(self.segments, lattice.step / 2)
        self.heights, outside = _solved(lattice, samples, self.interval, guess)
        return {"nodes out of their band": float(outside)}

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"heights": self.heights}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.heights = state["heights"]

    def missed_share(self) -> float:
        """The part of the contours' length that the surface is more than half an interval above or below."""
        samples = _samples(self.segments, self.lattices[-1].step / 2)
        found = self.lattices[-1].interpolation(samples[:, :2]) @ self.heights.ravel()
        return float((np.abs(found - samples[:, 2]) > self.interval / 2).mean())

    def preview(self) -> Scene | None:
        lattice = next(lattice for lattice in self.lattices if lattice.shape == self.heights.shape)
        return Scene(mesh=lattice.surface(self.heights), frame=self.frame)

    def result(self) -> trimesh.Trimesh:
        return self.lattices[-1].surface(self.heights)


class _Lattice:
    """Nodes at low + step * (i, j), a little stretched so that they end where the map does."""

    def __init__(self, low: Float64[np.ndarray, "2"], high: Float64[np.ndarray, "2"], step: float) -> None:
        self.low, self.step = low, step
        cells = np.maximum(2, np.round((high - low) / step)).astype(int)
        self.shape = (int(cells[0]) + 1, int(cells[1]) + 1)
        self.steps = (high - low) / cells

    def sampled(self, heights: Float64[np.ndarray, "nx ny"], other: _Lattice) -> Float64[np.ndarray, "mx my"]:
        """This lattice's heights at the other's nodes, by cubic interpolation."""
        factors = np.array(other.shape) / np.array(self.shape)
        return np.asarray(zoom(heights, factors, order=3, mode="nearest"))

    def places(self, points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """The points in units of nodes."""
        return (points - self.low) / self.steps

    def interpolation(self, points: Float64[np.ndarray, "n 2"]) -> sparse.csr_matrix:
        """P: heights at the nodes to heights at the points, bilinear."""
        places = self.places(points)
        cell = np.clip(np.floor(places).astype(int), 0, np.array(self.shape) - 2)
        u, v = (places - cell).T
        node = cell[:, 0] * self.shape[1] + cell[:, 1]
        columns = np.stack([node, node + 1, node + self.shape[1], node + self.shape[1] + 1], axis=1)
        shares = np.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v], axis=1)
        rows = np.repeat(np.arange(len(points)), 4)
        return sparse.csr_matrix((shares.ravel(), (rows, columns.ravel())), (len(points), int(np.prod(self.shape))))

    def second_differences(self) -> sparse.csr_matrix:
        """z_uu, z_vv and sqrt(2) z_uv at every place where they are defined; free at the border."""
        eye = [sparse.identity(n) for n in self.shape]
        second = [_differences([1.0, -2.0, 1.0], n) for n in self.shape]
        first = [_differences([-1.0, 1.0], n) for n in self.shape]
        parts = [
            sparse.kron(second[0], eye[1]),
            sparse.kron(eye[0], second[1]),
            2**0.5 * sparse.kron(first[0], first[1]),
        ]
        return sparse.csr_matrix(sparse.vstack(parts))

    def surface(self, heights: Float64[np.ndarray, "nx ny"]) -> trimesh.Trimesh:
        """Two triangles per cell, seen from above counter-clockwise."""
        import trimesh

        axes = [low + step * np.arange(n) for low, step, n in zip(self.low, self.steps, self.shape, strict=True)]
        u, v = np.meshgrid(*axes, indexing="ij")
        node = np.arange(heights.size).reshape(heights.shape)
        a, b, c, d = node[:-1, :-1], node[1:, :-1], node[1:, 1:], node[:-1, 1:]
        faces = np.concatenate([np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))])
        return trimesh.Trimesh(np.stack([u, v, heights], axis=-1).reshape(-1, 3), faces, process=False)


def _differences(stencil: list[float], nodes: int) -> sparse.csr_matrix:
    """The stencil at every place of a line of nodes where it fits."""
    places = nodes - len(stencil) + 1
    rows = np.repeat(np.arange(places), len(stencil))
    columns = rows + np.tile(np.arange(len(stencil)), places)
    return sparse.csr_matrix((np.tile(stencil, places), (rows, columns)), (places, nodes))


def _solved(
    lattice: _Lattice,
    samples: Float64[np.ndarray, "n 3"],
    interval: float,
    guess: Float64[np.ndarray, "nx ny"] | None,
) -> tuple[Float64[np.ndarray, "nx ny"], int]:
    """The thin plate through the samples within the bands, and how many nodes it had to be held at."""
    at_samples, bending = lattice.interpolation(samples[:, :2]), lattice.second_differences()
    system = sparse.csr_matrix(CONTOUR_WEIGHT * at_samples.T @ at_samples + bending.T @ bending)
    right = CONTOUR_WEIGHT * at_samples.T @ samples[:, 2]
    z = np.full(int(np.prod(lattice.shape)), samples[:, 2].mean()) if guess is None else guess.ravel()
    low, high = (bound.ravel() for bound in _bands(lattice, samples, interval))
    held = np.zeros(z.shape, bool)
    for _ in range(6):
        bounded = sparse.csr_matrix(system + sparse.diags(BOUND_WEIGHT * held))
        wanted = right + BOUND_WEIGHT * held * np.clip(z, low, high)
        inverse_diagonal = sparse.diags(1 / bounded.diagonal())
        z = np.asarray(cg(bounded, wanted, z, rtol=1e-6, maxiter=400, M=inverse_diagonal)[0])
        leaving = (z < low - 0.01 * interval) | (z > high + 0.01 * interval)
        if not (leaving & ~held).any():
            break
        held |= leaving
    return np.clip(z, low, high).reshape(lattice.shape), int(held.sum())


def _bands(
    lattice: _Lattice, samples: Float64[np.ndarray, "n 3"], interval: float
) -> tuple[Float64[np.ndarray, "nx ny"], Float64[np.ndarray, "nx ny"]]:
    """The least and greatest height that each node can have: the levels of the contours around its region, and one
    interval more where all of them are of one level. Nodes that a contour passes are free."""
    cell = np.round(lattice.places(samples[:, :2])).astype(int)
    cell = np.clip(cell, 0, np.array(lattice.shape) - 1)
    least, greatest = np.full(lattice.shape, np.inf), np.full(lattice.shape, -np.inf)
    np.minimum.at(least, tuple(cell.T), samples[:, 2])
    np.maximum.at(greatest, tuple(cell.T), samples[:, 2])
    crossed = np.isfinite(least)
    region, count = connected_parts(~crossed)
    low, high = np.full(count + 1, np.inf), np.full(count + 1, -np.inf)
    np.minimum.at(low, region, minimum_filter(least, 3))
    np.maximum.at(high, region, maximum_filter(greatest, 3))
    alone = high - low < 0.5 * interval
    low, high = np.where(alone, low - interval, low), np.where(alone, high + interval, high)
    low[~np.isfinite(low)], high[~np.isfinite(high)] = -np.inf, np.inf
    low[0], high[0] = -np.inf, np.inf
    return low[region], high[region]


def _samples(segments: Float64[np.ndarray, "n 2 3"], spacing: float) -> Float64[np.ndarray, "m 3"]:
    """Points along the contours, at most `spacing` apart."""
    length = np.linalg.norm(segments[:, 1, :2] - segments[:, 0, :2], axis=1)
    parts: Int[np.ndarray, " n"] = np.maximum(1, np.ceil(length / spacing)).astype(int)
    which = np.repeat(np.arange(len(parts)), parts)
    share = (np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts) + 0.5) / parts[which]
    return (1 - share[:, None]) * segments[which, 0] + share[:, None] * segments[which, 1]
