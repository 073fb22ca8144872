"""From the trained field to labels on a lattice and to surfaces, asking the network only where a boundary can be.

A coarse lattice, of every fourth node, is evaluated whole. Then, twice, the cells that a boundary passes through are
evaluated on a lattice twice as fine: those whose corners differ in label, and those that a contour passes through
(what is thinner than a coarse cell is found where it was drawn). Where the boundary turns out to leave them it is
followed. All other nodes take the label of their coarse neighbours. A lattice of 300^3 cells needs a thirtieth of its
nodes this way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt16
from scipy.spatial import ConvexHull

from recon.inputs import CrossSections
from recon.methods.orex.contour_samples import outer_hull
from recon.planar import outlines, samples
from recon.surface.topology import Topology

if TYPE_CHECKING:
    import trimesh

STRIDES = (4, 2, 1)
PULL = 0.5  # of the mesher: the gradient jumps at the network's kinks; with .01 a tenth of the faces cross others

Logits = Callable[[Float64[np.ndarray, "n 3"]], Float32[np.ndarray, "n labels"]]


@runtime_checkable
class Field(Protocol):
    """What is asked: a logit for each label, negative inside; with `exclusive` at most one label is at a point."""

    labels: int
    exclusive: bool

    def evaluate(self, points: Float64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n labels"]:
        """The logits at points."""
        ...

    def gradient(self, points: Float64[np.ndarray, "n 3"], label: int) -> Float[np.ndarray, "n 3"]:
        """The gradient of one label's logit at points."""
        ...


@dataclass(frozen=True)
class Lattice:
    """Nodes (i, j, k) below `shape`, standing at `affine @ (i, j, k, 1)` in the field's coordinates."""

    affine: Float64[np.ndarray, "4 4"]
    shape: tuple[int, int, int]

    def points(self, nodes: Int64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        return nodes @ self.affine[:3, :3].T + self.affine[:3, 3]

    def nodes(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        return (points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T


@dataclass(frozen=True)
class Labelled:
    """The label at every node, counted from 1, and the logits of the nodes around the boundaries.

    `known` are those nodes' flat indices, ascending: all corners of all cells whose corners differ are among them.
    """

    labels: UInt16[np.ndarray, "nx ny nz"]
    known: Int64[np.ndarray, " m"]
    logits: Float32[np.ndarray, "m labels"]


def surfaces(field: Field, sections: CrossSections, resolution: int) -> list[trimesh.Trimesh]:
    """A closed surface per label, in the field's coordinates, at `resolution` cells to a length of 2.

    Labels that share space out get one joint surface, each the part that bounds it: no gap, no overlap. Other labels
    (and a single one, as published) get dual contouring with the field's gradient, each on its own; parts of it that
    lie between the planes, cut by none, are the network's invention and left out.
    """
    hull = outer_hull(sections)
    lattice = lattice_around(hull, resolution)
    contours = [contour_points(sections, label.id, lattice.affine[0, 0]) for label in sections.labels]
    if field.exclusive and field.labels > 1:
        return _joint_surfaces(label_lattice(closed(field.evaluate, hull), lattice, np.concatenate(contours)), lattice)
    meshes = [_own_surface(field, label, hull, lattice, of) for label, of in enumerate(contours)]
    return [parts_cut(mesh, sections, label.id) for mesh, label in zip(meshes, sections.labels, strict=True)]


def lattice_around(hull: ConvexHull, resolution: int) -> Lattice:
    """The lattice over the box of the outer hull, and a coarse cell beyond it."""
    low, high = hull.min_bound, hull.max_bound
    step = 2 / resolution
    cells = STRIDES[0] * (np.ceil((high - low) / (STRIDES[0] * step)).astype(int) + 2)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = (low + high - cells * step) / 2
    nx, ny, nz = (int(n) + 1 for n in cells)
    return Lattice(affine, (nx, ny, nz))


def expected_evaluations(sections: CrossSections, resolution: int) -> int:
    """About how many nodes `surfaces` asks for: the coarse lattice, and three for each cell of a surface as large as
    that of the box."""
    nx, ny, nz = lattice_around(outer_hull(sections), resolution).shape
    return nx * ny * nz // STRIDES[0] ** 3 + 6 * (nx * ny + ny * nz + nz * nx)


def contour_points(sections: CrossSections, label: int, spacing: float) -> Float64[np.ndarray, "n 3"]:
    """Points along the contours of a label, no further apart than the spacing."""
    return np.concatenate([np.zeros((0, 3)), *(samples(outline, spacing)[0] for outline in outlines(sections, label))])


def closed(logits: Logits, hull: ConvexHull) -> Logits:
    """The same logits, but outside beyond the outer hull, of which the field was taught nothing: surfaces close."""
    equations = np.unique(hull.equations.round(9), axis=0)  # neighbouring triangles may lie in one plane

    def closed_logits(points: Float64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n labels"]:
        values = logits(points)
        chunks = np.array_split(points, 1 + len(points) // 4096)
        beyond = np.concatenate([(p @ equations[:, :3].T + equations[:, 3]).max(1) > 0 for p in chunks])
        values[beyond] = np.maximum(np.abs(values[beyond]), 1e-3)
        return values

    return closed_logits


def label_lattice(logits: Logits, lattice: Lattice, contours: Float64[np.ndarray, "n 3"]) -> Labelled:
    """The label at every node: that of the lowest logit, none (0) where no logit is negative."""
    whole = tuple(-(-(n - 1) // STRIDES[0]) * STRIDES[0] for n in lattice.shape)  # cells, up to a whole coarse cell
    labels = np.empty(0, np.uint16)
    for stride in STRIDES:
        shape = tuple(n // stride + 1 for n in whole)
        if stride == STRIDES[0]:
            labels, wanted = np.zeros(shape, np.uint16), np.ones(shape, bool)
        else:
            cells = _mixed_cells(labels)
            cells[_cells_of(lattice.nodes(contours) / (2 * stride), cells.shape)] = True
            wanted = _nodes_of(cells.repeat(2, 0).repeat(2, 1).repeat(2, 2))
            labels = labels[np.ix_(*((np.arange(n) + 1) // 2 for n in shape))]
        known, values = _follow(labels, wanted, lambda nodes, stride=stride: logits(lattice.points(stride * nodes)))
    return _cropped(labels, known, values, lattice.shape)


def _follow(
    labels: UInt16[np.ndarray, "nx ny nz"],
    wanted: Bool[np.ndarray, "nx ny nz"],
    logits: Callable[[Int64[np.ndarray, "n 3"]], Float32[np.ndarray, "n labels"]],
) -> tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m labels"]]:
    """Asks at the wanted nodes, and on as long as there are cells of differing labels with a corner not asked.

    Writes into `labels`; gives the nodes asked, ascending, and their logits."""
    asked = np.zeros(labels.shape, bool)
    known, values = [], []
    while True:
        index = np.flatnonzero(wanted)
        value = logits(np.stack(np.unravel_index(index, labels.shape), 1))
        labels.reshape(-1)[index] = np.where(value.min(1) < 0, value.argmin(1) + 1, 0)
        known.append(index)
        values.append(value)
        asked |= wanted
        wanted = _nodes_of(_mixed_cells(labels)) & ~asked
        if not wanted.any():
            break
    order = np.argsort(np.concatenate(known))
    return np.concatenate(known)[order], np.concatenate(values)[order]


def _mixed_cells(labels: UInt16[np.ndarray, "nx ny nz"]) -> Bool[np.ndarray, "mx my mz"]:
    """The cells whose eight corners are not all of one label."""
    low = high = labels
    for axis in range(3):
        before, after = (tuple(s if a == axis else slice(None) for a in range(3)) for s in (slice(-1), slice(1, None)))
        low, high = np.minimum(low[before], low[after]), np.maximum(high[before], high[after])
    return low != high


def _cells_of(nodes: Float64[np.ndarray, "n 3"], shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The cells that points given in node coordinates lie in; points beyond the lattice are left out."""
    cells = np.floor(nodes).astype(np.int64)
    return tuple(cells[((cells >= 0) & (cells < shape)).all(1)].T)


def _nodes_of(cells: Bool[np.ndarray, "mx my mz"]) -> Bool[np.ndarray, "nx ny nz"]:
    """The corners of the cells."""
    nodes = cells
    for axis in range(3):
        before, after = (tuple(pad if a == axis else (0, 0) for a in range(3)) for pad in ((0, 1), (1, 0)))
        nodes = np.pad(nodes, before) | np.pad(nodes, after)
    return nodes


def _cropped(
    labels: UInt16[np.ndarray, "nx ny nz"],
    known: Int64[np.ndarray, " m"],
    logits: Float32[np.ndarray, "m labels"],
    shape: tuple[int, int, int],
) -> Labelled:
    """Without the nodes beyond the shape."""
    nodes = np.unravel_index(known, labels.shape)
    within = np.all([index < n for index, n in zip(nodes, shape, strict=True)], axis=0)
    flat = np.ravel_multi_index(tuple(index[within] for index in nodes), shape)
    return Labelled(np.ascontiguousarray(labels[tuple(map(slice, shape))]), flat, logits[within])


def _own_surface(
    field: Field, label: int, hull: ConvexHull, lattice: Lattice, contours: Float64[np.ndarray, "n 3"]
) -> trimesh.Trimesh:
    """The zero set of one label's logit."""
    from recon.surface.dual_contouring import dual_contouring

    logits = closed(lambda points: field.evaluate(points)[:, [label]], hull)
    found = label_lattice(logits, lattice, contours)
    values = np.where(found.labels, np.float32(-1), np.float32(1))
    values.reshape(-1)[found.known] = found.logits[:, 0]
    step = lattice.affine[0, 0]
    return dual_contouring(
        values,
        lambda points: field.gradient(points, label),
        spacing=(step, step, step),
        origin=tuple(lattice.affine[:3, 3]),
        pull=PULL,
    )


def parts_cut(mesh: trimesh.Trimesh, sections: CrossSections, label: int) -> trimesh.Trimesh:
    """The mesh without the parts that lie wholly between planes, of those that speak about the label."""
    part = Topology(np.asarray(mesh.faces), len(mesh.vertices)).part_of_face
    corners = np.asarray(mesh.triangles)
    cut = np.zeros(part.max(initial=-1) + 1, bool)
    for plane in sections.planes:
        if label not in plane.silent_about:
            above = ((corners - plane.origin) @ plane.normal > 0).sum(1)
            count = np.bincount(part, above, minlength=len(cut))
            cut |= (count > 0) & (count < 3 * np.bincount(part, minlength=len(cut)))
    mesh.update_faces(cut[part])
    mesh.remove_unreferenced_vertices()
    return mesh


def _joint_surfaces(found: Labelled, lattice: Lattice) -> list[trimesh.Trimesh]:
    """The surfaces between the labels: they change where the two winning logits are equal."""
    from recon.surface.label_surfaces import label_surfaces

    crossings = (_crossings(found, 0), _crossings(found, 1), _crossings(found, 2))
    joint = label_surfaces(found.labels, crossings, affine=lattice.affine)
    return [joint.of(label + 1) for label in range(found.logits.shape[1])]


def _crossings(found: Labelled, axis: int) -> Float32[np.ndarray, "mx my mz"]:
    """For the edges along an axis, the fraction at which the label changes: where f_a - f_b, linear between the two
    ends a and b, is 0, f being the logit of a label and 0 for none. Meaningless where the ends have one label."""
    labels = np.moveaxis(found.labels, axis, 0)
    low = np.stack(np.nonzero(np.moveaxis(labels[1:] != labels[:-1], 0, axis)), 1)
    high = low + (np.arange(3) == axis)
    f_low, f_high = (_with_none(found, nodes) for nodes in (low, high))
    rows = np.arange(len(low))
    a, b = found.labels[tuple(low.T)], found.labels[tuple(high.T)]
    ahead, behind = f_low[rows, b] - f_low[rows, a], f_high[rows, a] - f_high[rows, b]
    shape = tuple(n - (k == axis) for k, n in enumerate(found.labels.shape))
    crossings = np.zeros(shape, np.float32)
    crossings[tuple(low.T)] = np.clip(ahead / np.maximum(ahead + behind, 1e-12), 1e-3, 1 - 1e-3)
    return crossings


def _with_none(found: Labelled, nodes: Int64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n labels_and_none"]:
    """The logits at known nodes, with the 0 of no label before them."""
    flat = np.ravel_multi_index(tuple(nodes.T), found.labels.shape)
    return np.pad(found.logits[np.searchsorted(found.known, flat)], ((0, 0), (1, 0)))
