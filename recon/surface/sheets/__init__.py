"""The surface of a field of sheets: open or closed, with clean borders, without an inside.

`lattice` lays cubes around the samples, `crossings` decides which of their edges the surface crosses, `polygons` puts
a mesh through the crossings, and `borders` cuts it back to where the samples end. Whether the thing is closed is found
out by trying: the surface that changes sides everywhere is put through, and if nothing of it lies where samples would
have to be and are not, it is closed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from recon.fields.sheet_field import SheetField
from recon.surface.cleaning import split_non_manifold
from recon.surface.orientation import oriented
from recon.surface.sheets.borders import (
    Mesh,
    border_measure,
    compact,
    trimmed,
    true_holes,
    with_gaps_filled,
    without_crumbs,
)
from recon.surface.sheets.crossings import Evidence, decided, gathered
from recon.surface.sheets.lattice import Lattice, extended, lattice_around
from recon.surface.sheets.polygons import polygons
from recon.surface.topology import Topology

REACH = 2.6  # spacings beyond the samples that an open surface is followed, to be cut back
CLOSED_REACH = 8.0
ROUNDS = 6
ONE_SIDED = 0.5  # spacings from a sample to the middle of its neighbours: more is beside a border or a gap
FARTHEST_MOVE = 0.9  # steps that a vertex is moved onto the sheet at most


class Surface(NamedTuple):
    """The mesh, whether it is closed, and the sentence that says why."""

    mesh: Mesh
    closed: bool
    why: str


def surface_of(field: SheetField, step: float, closed: bool | None = None) -> Surface:
    """The surface through the samples of a field, on cubes of `step` local spacings.

    With `closed` the surface is taken to be closed or open; by default that is found out.
    """
    base = step * float(np.median(field.spacing))
    steps = step * field.spacing[field.neighbours].mean(1)  # cubes should not change their size from sample to sample
    outward = _beyond_borders(field)
    points, steps = np.concatenate([field.points, outward.points]), np.concatenate([steps, steps[outward.samples]])
    lattice = lattice_around(points, steps, base, points.min(0) - 2 * base)
    lattice, evidence = _covering(lattice, field, False, REACH)
    why = "that was asked for"
    if closed is None:
        closed, why = _is_closed(lattice, evidence, field)
    if closed:
        lattice, evidence = _covering(lattice, field, True, CLOSED_REACH)
        mesh = _manifold(_on_sheets(_mesh(lattice, evidence, True, CLOSED_REACH), field, lattice.step))
        mesh = without_crumbs(with_gaps_filled(mesh, field, all_of_them=True), field)
        return Surface(_outward(mesh), True, why)
    mesh = _manifold(_on_sheets(_mesh(lattice, evidence, False, REACH), field, lattice.step))
    measure = border_measure(mesh, field)
    holes = true_holes(mesh, measure, field)
    mesh = trimmed(mesh, np.where(holes, measure, np.minimum(measure, 0.99)))
    mesh = without_crumbs(mesh, field)
    return Surface(with_gaps_filled(_manifold(mesh), field), False, why)


class _Outward(NamedTuple):
    """Places beyond the border, and the samples they stand beside."""

    points: Float64[np.ndarray, "m 3"]
    samples: Int64[np.ndarray, "m"]


def _beyond_borders(field: SheetField) -> _Outward:
    """A place 1.5 spacings outward of every sample whose neighbours stand to one side: at borders and around gaps the
    lattice has to reach beyond the samples."""
    inward = field.points[field.neighbours].mean(1) - field.points
    length = np.linalg.norm(inward, axis=1)
    samples = np.flatnonzero(length > ONE_SIDED * field.spacing)
    away = inward[samples] / length[samples, None] * (1.5 * field.spacing[samples, None])
    return _Outward(field.points[samples] - away, samples)


def _covering(lattice: Lattice, field: SheetField, closed: bool, reach: float) -> tuple[Lattice, Evidence]:
    """The lattice extended until there are leaves around all crossings, and its evidence."""
    evidence = gathered(lattice, field.at(lattice.corner_positions), field)
    for _ in range(ROUNDS):
        found = decided(lattice, evidence, closed, reach)
        bare = (lattice.edge_cells[found.edge] < 0).any(1)
        if not bare.any():
            break
        lattice = extended(lattice, np.unique(found.edge[bare]))
        evidence = gathered(lattice, field.at(lattice.corner_positions), field)
    return lattice, evidence


def _mesh(lattice: Lattice, evidence: Evidence, closed: bool, reach: float) -> Mesh:
    """The mesh through the crossings."""
    found = polygons(lattice, decided(lattice, evidence, closed, reach))
    return Mesh(found.vertices, found.faces)


def _on_sheets(mesh: Mesh, field: SheetField, step: float) -> Mesh:
    """The mesh with its vertices moved onto the sheets."""
    foot = field.at(mesh.vertices).foot
    near = np.linalg.norm(foot - mesh.vertices, axis=1) < FARTHEST_MOVE * step
    return Mesh(np.where(near[:, None], foot, mesh.vertices), mesh.faces)


def _manifold(mesh: Mesh) -> Mesh:
    """The mesh with sheets parted where they touch, faces oriented."""
    import trimesh

    faces = oriented(mesh.faces, len(mesh.vertices))
    split = split_non_manifold(trimesh.Trimesh(mesh.vertices, faces, process=False))
    vertices, faces = np.asarray(split.vertices), np.asarray(split.faces)
    return Mesh(vertices, oriented(faces, len(vertices)))


def _is_closed(lattice: Lattice, evidence: Evidence, field: SheetField) -> tuple[bool, str]:
    """Whether the surface that changes sides everywhere lies nowhere that samples are missing."""
    mesh = without_crumbs(with_gaps_filled(_mesh(lattice, evidence, True, REACH), field), field)
    if Topology(mesh.faces, len(mesh.vertices)).boundary_loops:
        return False, "it has borders"
    mesh = _on_sheets(Mesh(mesh.vertices, oriented(mesh.faces, len(mesh.vertices))), field, lattice.step)
    if true_holes(mesh, border_measure(mesh, field), field).any():
        return False, "it has an opening larger than a gap between random samples"
    return True, "there are samples all over it, with no opening larger than a gap between random samples"


def _outward(mesh: Mesh) -> Mesh:
    """The closed mesh with each part's faces looking out of it."""
    vertices, faces = compact(mesh)
    part = Topology(faces, len(vertices)).part_of_face
    a, b, c = (vertices[faces[:, n]] - vertices.mean(0) for n in range(3))
    volume = np.bincount(part, np.einsum("ij,ij->i", a, np.cross(b, c)))
    inward = (volume < 0)[part]
    return Mesh(vertices, np.where(inward[:, None], faces[:, [0, 2, 1]], faces))
