"""What the default method for points rests on, taken away one at a time: the result gets worse, and how."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from recon.fields.local_fits import Sheets, fit_sheets
from recon.fields.neighbourhoods import local_spacing, nearest
from recon.fields.sheet_field import Local, SheetField
from recon.formats.meshes import whole
from recon.inputs import PointCloud
from recon.methods import method_named
from recon.surface.sheets import surface_of
from recon.surface.topology import Topology
from recon.training import Trainer
from tests import clouds
from tests.clouds import Shape

COUNT, STEP = 4_000, 1.25


def by_name(shape: Shape) -> str:
    return shape.name


def planes_of_sixteen(points: np.ndarray) -> Sheets:
    """The points where they are, with the axes of the planes of their neighbours: nothing is chosen or moved."""
    near = np.asarray(KDTree(points).query(points, 16)[1])
    offsets = points[near] - points[near].mean(1, keepdims=True)
    axes = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)[1][:, :, 0]
    return Sheets(points, axes, local_spacing(points, nearest(points, 16)), 0.0, np.arange(len(points)))


class NearestPoint(SheetField):
    """The plain unsigned distance: from the nearest sample, in the direction away from it."""

    def at(self, queries: np.ndarray) -> Local:
        distance, sample = self.tree.query(queries)
        return self.on(np.asarray(sample), queries)._replace(gap=distance / self.spacing[sample])

    def on(self, reference: np.ndarray, queries: np.ndarray) -> Local:
        away = queries - self.points[reference]
        distance = np.linalg.norm(away, axis=1)
        axis = away / np.maximum(distance, 1e-12)[:, None]
        return Local(distance, axis, self.points[reference], reference, np.zeros(len(queries)))


def distance_to(shape: Shape, mesh: trimesh.Trimesh) -> float:
    """Mean over the mesh, in spacings."""
    samples = np.asarray(trimesh.sample.sample_surface(mesh, 20_000, seed=0)[0])
    return shape.distance(samples).mean() / shape.spacing(COUNT)


@pytest.mark.parametrize("shape", [clouds.disc(), clouds.cylinder(), clouds.torus()], ids=by_name)
def test_without_patches_whose_size_the_evidence_chooses_noise_stays(shape, monkeypatch):
    noise = 0.005 * float(np.linalg.norm(np.ptp(shape.cloud(1_000), axis=0)))
    cloud = PointCloud(shape.cloud(COUNT, noise=noise))
    function, config = method_named("sheets").load()

    def solved() -> float:
        return distance_to(shape, whole(function(cloud, config.at("standard"), Trainer())))

    fitted = solved()
    monkeypatch.setattr("recon.methods.sheets.fit_sheets", planes_of_sixteen)
    assert solved() > 1.4 * fitted


@pytest.mark.parametrize("shape", [clouds.hemisphere(), clouds.cylinder()], ids=by_name)
def test_with_the_distance_to_the_nearest_point_samples_are_wrapped_up(shape):
    """It has no axis that could change sides: bubbles close around the samples, where a sheet with a border was."""
    sheets = fit_sheets(shape.cloud(COUNT))
    found = [surface_of(kind.of(sheets), STEP).mesh for kind in (SheetField, NearestPoint)]
    along_axes, nearest_point = (Topology(mesh.faces, len(mesh.vertices)) for mesh in found)
    assert (along_axes.parts, along_axes.boundary_loops) == (1, shape.loops)
    assert nearest_point.parts > 10 and nearest_point.boundary_loops == 0
