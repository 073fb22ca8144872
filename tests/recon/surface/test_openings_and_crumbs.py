"""What is missing in a sheet, and what lies about beside it, judged by the number of samples."""

import numpy as np
import pytest

from recon.fields.local_fits import Sheets
from recon.fields.sheet_field import SheetField
from recon.surface.sheets import surface_of
from recon.surface.sheets.borders import Mesh, without_crumbs
from recon.surface.sheets.openings import at_openings
from recon.surface.topology import Topology
from tests.grids import square_grid

SIDE = 60  # of a square sheet, in spacings
ABOVE = np.array([SIDE / 2, SIDE / 2, 10])


def field_of(points: np.ndarray, spacing: np.ndarray | float = 1.0, total: int | None = None) -> SheetField:
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    samples = Sheets(points, normals, np.broadcast_to(spacing, len(points)).copy(), 0.0, np.arange(len(points)))
    return SheetField.of(samples, total)


def square(rng: np.random.Generator) -> np.ndarray:
    """One sample in every unit square."""
    corners = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(-1, 2)
    return np.c_[corners + rng.random((len(corners), 2)), np.zeros(len(corners))]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gap_that_a_large_cloud_may_have_is_a_hole_in_a_small_one(seed):
    """Of n random samples a disc that expects 22 is empty somewhere with probability n exp(-22): hardly ever of 3,600,
    of ten million far more likely, and so in a block that has 3,600 of those."""
    points = square(np.random.default_rng(seed))
    points = points[np.linalg.norm(points[:, :2] - SIDE / 2, axis=1) > np.sqrt(22 / np.pi)]
    for total, loops in ((None, 2), (10_000_000, 1)):
        mesh = surface_of(field_of(points, total=total), 1.25, False).mesh
        assert Topology(mesh.faces, len(mesh.vertices)).boundary_loops == loops


@pytest.mark.parametrize(("lacking", "stays"), [(1, False), (5, True)])
def test_a_gap_is_no_hole_because_a_polygon_is_missing_in_it(lacking, stays):
    first = SIDE // 2 - lacking // 2
    points, mesh = square(np.random.default_rng(0)), square_grid(SIDE, range(first, first + lacking))
    used = np.unique(mesh.faces)
    middle = mesh.vertices[used].mean(0)
    points = points[np.linalg.norm(points - middle, axis=1) > 2]
    beyond = np.linalg.norm(mesh.vertices - middle, axis=1) < lacking / 2 + 2
    cut = at_openings(mesh, np.where(beyond, 1.2, 0.5), field_of(points)) > 1
    assert np.array_equal(cut[used], beyond[used] & stays)


def sheet_and_bubble(radius: float) -> Mesh:
    """The square in unit squares, and an octahedron above its middle."""
    ground, faces = square_grid(SIDE)
    corners = radius * np.concatenate([np.eye(3), -np.eye(3)]) + ABOVE
    octahedron = np.array([[i, j, k] for i in (0, 3) for j in (1, 4) for k in (2, 5)])
    return Mesh(np.concatenate([ground, corners]), np.concatenate([faces, len(ground) + octahedron]))


@pytest.mark.parametrize(("count", "parts"), [(12, 1), (30, 2)])
def test_a_bubble_around_a_few_samples_that_happen_to_be_dense_is_a_crumb(count, parts):
    rng = np.random.default_rng(0)
    sheet, ball = square(rng), rng.standard_normal((count, 3))
    ball = ABOVE + 1.5 * ball / np.linalg.norm(ball, axis=1, keepdims=True)
    field = field_of(np.concatenate([sheet, ball]), np.repeat([1.0, 0.5], [len(sheet), count]))
    found = without_crumbs(sheet_and_bubble(1.5), field)
    assert Topology(found.faces, len(found.vertices)).parts == parts
