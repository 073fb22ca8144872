"""The surface of a field of sheets: open or closed, with clean borders, without an inside.

`lattice` lays cubes around the samples, `crossings` decides which of their edges the surface crosses, `polygons` puts
a mesh through the crossings, `creases` sharpens it, `cracks` and `borders` close what is no border and cut it back to
where the samples end; `openings` and `thin_parts` close loops that are not the thing's. Whether the thing is closed is
found out by trying: the surface that changes sides everywhere is put through, and if it goes through nearly all samples
and hardly anything of it lies where samples would have to be and are not, it is closed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon.fields.point_tree import PointTree
from recon.fields.sheet_field import SheetField
from recon.surface.cleaning import split_non_manifold, without_bad_faces
from recon.surface.orientation import oriented
from recon.surface.sheets.borders import (
    Mesh,
    border_measure,
    compact,
    links_of,
    trimmed,
    with_even_borders,
    without_crumbs,
)
from recon.surface.sheets.cracks import with_cracks_closed
from recon.surface.sheets.creases import with_creases
from recon.surface.sheets.crossings import Answers, Crossings, answers, answers_again, decided, with_sides
from recon.surface.sheets.lattice import Lattice, extended, lattice_around
from recon.surface.sheets.openings import MOST_GAPS, at_openings, lacks_samples, largest_gap, with_gaps_filled
from recon.surface.sheets.polygons import polygons
from recon.surface.sheets.thin_parts import with_thin_parts_closed
from recon.surface.sheets.tiles import Region, Tile
from recon.surface.sheets.welding import piece_in
from recon.surface.topology import Topology

NOISY_SPACING = 1.5  # of the noise: sheets that were found in noise have no detail that is finer
REACH = 2.0  # spacings from the samples that an open surface is followed, to be cut back
TRIAL_REACH = 2.6  # the same where it is tried whether the surface is closed
CLOSED_REACH = 8.0
CLOSED_ROUNDS = 6  # how often the lattice is extended at most, to where a closed surface goes
OFF_GRID = np.array([2.37, 2.41, 2.29])  # steps below the samples: corners are off planes parallel to the axes
ONE_SIDED = 0.5  # spacings from a sample to the middle of its neighbours: more is beside a border or a gap
MOST_PASSED = 0.01  # of the samples are not on the surface of a closed thing, at parts thinner than their noise
FARTHEST_MOVE = 0.9  # steps that a vertex is moved onto the sheet at most


class Surface(NamedTuple):
    """The mesh, whether it is closed, and the sentence that says why."""

    mesh: Mesh
    closed: bool
    why: str


def surface_of(field: SheetField, step: float, closed: bool | None = None, tile: Tile | None = None) -> Surface:
    """The surface through the samples of a field, on cubes of `step` local spacings.

    With `closed` the surface is taken to be closed or open; by default that is found out. With `tile` the samples are
    those in and around it, the mesh is the tile's, and it is called closed if nothing in the tile speaks against that.
    """
    base = base_step(step, field.spacing, field.noise) if tile is None else tile.base
    spacing = field.spacing[field.neighbours].mean(1)  # cubes should not change their size from sample to sample
    steps = step * np.maximum(spacing, NOISY_SPACING * field.noise)
    outward = _beyond_borders(field)
    points = np.concatenate([field.points, outward.points])
    tile = tile or Tile.everywhere(points.min(0) - OFF_GRID * base, base)
    lattice = lattice_around(points, np.concatenate([steps, steps[outward.samples]]), base, tile.origin)
    start = lattice, answers(lattice, field)
    why = "that was asked for"
    if closed is None:
        closed, why = _is_closed(*start, field, steps, tile)
    if closed:
        mesh = polygons(*_crossed(*start, field, tile.undisturbed, True, CLOSED_REACH, CLOSED_ROUNDS))
        mesh = _parted(with_creases(_on_sheets(mesh, field, lattice.step), field))
        mesh = without_crumbs(with_gaps_filled(mesh, field, tile.undisturbed, all_of_them=True), field)
        return Surface(_outward(piece_in(tile, mesh)), True, why)
    mesh = polygons(*_crossed(*start, field, tile.undisturbed, False, REACH, 0))
    mesh = _manifold(with_creases(_on_sheets(mesh, field, lattice.step), field))
    measure = border_measure(mesh, field)
    mesh = with_cracks_closed(mesh, measure, tile.undisturbed)
    mesh = trimmed(mesh, at_openings(mesh, measure, field))
    mesh = without_crumbs(mesh, field)
    mesh = with_gaps_filled(_manifold(mesh), field, tile.undisturbed)
    mesh = with_even_borders(with_thin_parts_closed(mesh, field, tile.owns))
    return Surface(piece_in(tile, mesh), False, why)


def base_step(step: float, spacing: Float64[np.ndarray, " n"], noise: float) -> float:
    """The side of the cubes of the middle level, for samples with that spacing and noise."""
    return step * max(float(np.median(spacing)), NOISY_SPACING * noise)


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


def _crossed(
    lattice: Lattice, given: Answers, field: SheetField, within: Region, closed: bool, reach: float, rounds: int
) -> tuple[Lattice, Crossings]:
    """The crossings, and the lattice extended until there are leaves around all of them, or so many times."""
    found = decided(lattice, with_sides(given, lattice, field, within, closed), closed, reach)
    for _ in range(rounds):
        bare = _without_leaves(lattice, found)
        if not bare.any():
            break
        larger = extended(lattice, np.unique(found.edge[bare]))
        lattice, given = larger, answers_again(larger, field, lattice, given)
        found = decided(lattice, with_sides(given, lattice, field, within, closed), closed, reach)
    return lattice, found


def _without_leaves(lattice: Lattice, found: Crossings) -> Bool[np.ndarray, " m"]:
    """Which crossings have no leaf on some side, and so no polygon around them."""
    return np.any(lattice.edge_cells[found.edge] < 0, axis=1)


def _on_sheets(mesh: Mesh, field: SheetField, step: float) -> Mesh:
    """The mesh with its vertices moved half the way to the middle of their neighbours, for better triangles, and then
    onto the sheets."""
    links = links_of(mesh.faces, len(mesh.vertices))
    degree = np.maximum(np.asarray(links.sum(1)), 1)[:, None]
    even = (mesh.vertices + (links @ mesh.vertices) / degree) / 2
    foot = field.at(even).foot
    near = np.linalg.norm(foot - even, axis=1) < FARTHEST_MOVE * step
    return Mesh(np.where(near[:, None], foot, even), mesh.faces)


def _manifold(mesh: Mesh) -> Mesh:
    """The mesh with faces oriented as far as that can be, and sheets parted where they touch."""
    parted = _parted(Mesh(mesh.vertices, oriented(mesh.faces, len(mesh.vertices))))
    return Mesh(parted.vertices, oriented(parted.faces, len(parted.vertices)))


def _parted(mesh: Mesh) -> Mesh:
    """The mesh without faces back to back, and with sheets parted where they touch; where three faces meet in an edge
    that cannot be parted, one of them goes."""
    import trimesh

    found = without_bad_faces(trimesh.Trimesh(*mesh, process=False))
    while True:
        found = split_non_manifold(found)
        topology = Topology(np.asarray(found.faces), len(found.vertices))
        crowding = topology.crowding_faces
        if len(crowding) == 0:
            return Mesh(np.asarray(found.vertices), topology.faces)
        found = trimesh.Trimesh(found.vertices, np.delete(topology.faces, crowding, axis=0), process=False)


def _is_closed(
    lattice: Lattice, given: Answers, field: SheetField, steps: Float64[np.ndarray, "n"], tile: Tile
) -> tuple[bool, str]:
    """Whether the surface that changes sides everywhere, its loops closed, goes through nearly all samples of the tile
    and hardly lacks any there. An open sheet has the same side all around, and such a surface passes it by."""
    for rounds in (0, 1):
        around, found = _crossed(lattice, given, field, tile.undisturbed, True, TRIAL_REACH, rounds)
        mesh = without_crumbs(polygons(around, found), field)
        if _passes_by_samples(mesh, field, steps, tile):
            return False, "a surface with an inside does not go through all of its samples"
        if not _without_leaves(around, found).any():
            break
    filled = with_gaps_filled(mesh, field, tile.undisturbed, all_of_them=True)
    sides = Topology(filled.faces, len(filled.vertices)).boundary_sides
    sides = sides[sides < 3 * len(mesh.faces)]  # fans have some as well, where three faces meet
    if tile.owns(filled.vertices[filled.faces.ravel()[sides]]).any():
        return False, "it has borders"
    filled = _on_sheets(filled, field, lattice.step)
    if lacks_samples(filled, border_measure(filled, field, by_density=False), field, tile.owns):
        return False, "it has openings, together larger than gaps between random samples"
    return True, "there are samples all over it, but for gaps between random ones"


def _passes_by_samples(mesh: Mesh, field: SheetField, steps: Float64[np.ndarray, "n"], tile: Tile) -> bool:
    """Whether more of the tile's samples are farther than a step from every vertex than the thinnest parts of a closed
    thing have."""
    if not len(mesh.faces):
        return True
    owned = tile.owns(field.points)
    passed = PointTree(mesh.vertices).query(field.points[owned])[0] > steps[owned]
    return bool(passed.sum() > max(MOST_PASSED * len(passed), MOST_GAPS * largest_gap(field)))


def _outward(mesh: Mesh) -> Mesh:
    """The closed mesh with each part's faces looking out of it."""
    vertices, faces = compact(mesh)
    part = Topology(faces, len(vertices)).part_of_face
    a, b, c = (vertices[faces[:, n]] - vertices.mean(0) for n in range(3))
    volume = np.bincount(part, np.einsum("ij,ij->i", a, np.cross(b, c)))
    inward = (volume < 0)[part]
    return Mesh(vertices, np.where(inward[:, None], faces[:, [0, 2, 1]], faces))
