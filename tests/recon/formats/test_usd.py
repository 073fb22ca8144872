"""USD files as the reference library reads them."""

import sys

import numpy as np
import pytest
import trimesh

from recon.errors import UserError
from recon.formats.meshes import write_scene
from recon.scene import Frame, Scene
from recon.slices import Label


def a_scene() -> Scene:
    box = trimesh.creation.box((1, 2, 3))
    box.apply_translation((512_345.678, 5_412_345.678, 900.0))
    other = trimesh.creation.icosphere(subdivisions=1)
    other.apply_translation((512_345.678, 5_412_349.678, 900.0))
    labels = (Label(1, "Lt Lung/1", (0.5, 0.0, 1.0)), Label(2, "Lt Lung 1", (0.0, 1.0, 0.0)))
    return Scene(objects={"Lt Lung/1": box, "Lt Lung 1": other}, labels=labels, frame=Frame(unit="mm", up=(0, 1, 0)))


def test_without_the_package_the_install_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(UserError, match=r"pip install 'relief\[usd\]'"):
        write_scene(a_scene(), tmp_path / "x.usdc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["usdc", "usda"])
def test_stage_units_axes_points_and_colours(tmp_path, ending):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    scene = a_scene()
    write_scene(scene, tmp_path / f"x.{ending}")
    stage = Usd.Stage.Open(str(tmp_path / f"x.{ending}"))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 0.001 and UsdGeom.GetStageUpAxis(stage) == "Z"
    meshes = [prim for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    assert [prim.GetDisplayName() for prim in meshes] == ["Lt Lung/1", "Lt Lung 1"]
    for prim, mesh in zip(meshes, scene.objects.values(), strict=True):
        matrix = np.array(UsdGeom.Xformable(prim).ComputeLocalToWorldTransform(Usd.TimeCode.Default()))
        local = np.array(UsdGeom.Mesh(prim).GetPointsAttr().Get(), np.float64)
        assert np.abs(local).max() < 10
        world = local @ matrix[:3, :3] + matrix[3, :3]
        np.testing.assert_allclose(world, mesh.vertices[:, [0, 2, 1]] * (1, -1, 1), atol=1e-5)  # y up becomes z up
        np.testing.assert_array_equal(np.array(UsdGeom.Mesh(prim).GetFaceVertexIndicesAttr().Get()), mesh.faces.ravel())
    (color,) = UsdGeom.Mesh(meshes[0]).GetDisplayColorAttr().Get()
    np.testing.assert_allclose(color, (0.214041, 0, 1), atol=1e-5)
