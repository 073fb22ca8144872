"""Two sheets that came out as one against one sheet, by the samples on them."""

import numpy as np
import pytest

from recon.fields.local_fits import Sheets
from recon.fields.sheet_field import SheetField
from recon.surface.sheets.borders import Mesh, areas_of
from recon.surface.sheets.thin_parts import with_thin_parts_closed
from recon.surface.sheets.tiles import everywhere
from recon.surface.topology import Topology
from tests.grids import square_grid

SIDE = 24  # of a square sheet, in spacings
HOLE = range(8, 13)


def square(at: float, lacking: range = range(0)) -> Mesh:
    """A square sheet in the plane z = 0, beginning at some x."""
    vertices, faces = square_grid(SIDE, lacking)
    return Mesh(vertices + [at, 0, 0], faces)


def samples_on(mesh: Mesh, density: float, rng: np.random.Generator) -> np.ndarray:
    """Random points, so many on a unit square."""
    corners = mesh.vertices[mesh.faces[: len(mesh.faces) // 2, 0]]
    corners = corners[rng.integers(len(corners), size=rng.poisson(density * len(corners)))]
    return corners + np.c_[rng.random((len(corners), 2)), np.zeros(len(corners))]


SINGLE, DOUBLE = square(0, HOLE), square(2 * SIDE)
MESH = Mesh(
    np.concatenate([SINGLE.vertices, DOUBLE.vertices]),
    np.concatenate([SINGLE.faces, DOUBLE.faces + len(SINGLE.vertices)]),
)


def field_on_both(seed: int, noise: float = 1.0, variation: float = 1.0) -> SheetField:
    """Samples of one sheet on the one, of two on the other, with spacings that vary by a factor."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([samples_on(SINGLE, 1, rng), samples_on(DOUBLE, 2, rng)])
    return field_of(points, variation ** rng.uniform(-0.5, 0.5, len(points)), noise)


def field_of(points: np.ndarray, spacing: np.ndarray, noise: float = 1.0) -> SheetField:
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    return SheetField.of(Sheets(points, normals, spacing, noise, np.arange(len(points))))


def beside_the_hole(places: np.ndarray) -> np.ndarray:
    return np.abs(places[:, :2] - SIDE / 2).max(1) < SIDE / 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sheet_with_the_samples_of_two_is_closed_and_one_with_those_of_one_stays_open(seed):
    found = with_thin_parts_closed(MESH, field_on_both(seed), everywhere)
    topology = Topology(found.faces, len(found.vertices))
    assert (topology.boundary_loops, topology.non_manifold_edges) == (2, 0)
    assert topology.is_consistently_oriented
    is_double = found.vertices[found.faces][:, :, 0].min(1) >= SIDE
    assert np.isclose(areas_of(found)[is_double].sum(), 2 * SIDE**2)
    assert is_double.sum() - len(DOUBLE.faces) == 4 * SIDE - 2


@pytest.mark.parametrize("of_field", [{"noise": 0.0}, {"variation": 4.0}], ids=["exact", "uneven"])
def test_exact_samples_and_uneven_ones_tell_nothing_by_their_number(of_field):
    found = with_thin_parts_closed(MESH, field_on_both(0, **of_field), everywhere)
    assert len(found.faces) == len(MESH.faces)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_hole_among_dense_samples_stays(seed):
    rng = np.random.default_rng(seed)
    dense, others = samples_on(SINGLE, 1.9, rng), [samples_on(square(n * 2 * SIDE), 1, rng) for n in (1, 2, 3)]
    points = np.concatenate([dense, *others])
    spacing = np.where(points[:, 0] < SIDE, 1.9**-0.5, 1.0)
    found = with_thin_parts_closed(SINGLE, field_of(points, spacing), beside_the_hole)
    assert len(found.faces) == len(SINGLE.faces)


def test_a_loop_that_reaches_out_of_the_region_stays():
    found = with_thin_parts_closed(MESH, field_on_both(0), lambda places: places[:, 0] < 2.5 * SIDE)
    assert len(found.faces) == len(MESH.faces)
