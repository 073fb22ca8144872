"""USD (.usdc, .usda): named meshes with display colours and preview materials, through the optional package usd-core.

The stage is Z-up and says how many metres its unit is; the root Xform turns the user's upward direction to +Z where it
is another. Points are float32 in USD: far from the origin each object's Xform carries the offset, in float64. Colours
are linear. Relief writes USD and does not read it.
"""

# pxr is optional, and makes its names at run time, where no type checker sees them
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import METRES, Part, offset_for_float32, parts
from recon.rotations import shortest_turn
from recon.scene import Scene
from render.meshes import own_colors, to_linear

ROUGHNESS = 0.8


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's objects, or its whole mesh.

    Raises:
        UserError: usd-core is not installed, or the scene holds no mesh.
    """
    try:
        from pxr import Gf, Tf, Usd, UsdGeom
    except ImportError as missing:
        raise UserError(f"{path}: writing USD needs usd-core; install it with: pip install 'relief[usd]'") from missing
    written = parts(scene)
    offset = offset_for_float32(written)
    turn = np.eye(4)
    turn[:3, :3] = shortest_turn(scene.frame.up, (0, 0, 1))
    with replacing(path) as partial:
        stage = Usd.Stage.CreateNew(str(partial))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, METRES.get(scene.frame.unit, 1.0))
        root = UsdGeom.Xform.Define(stage, "/relief")
        root.AddTransformOp().Set(Gf.Matrix4d(turn.T.tolist()))  # USD multiplies row vectors
        stage.SetDefaultPrim(root.GetPrim())
        taken: set[str] = set()
        for part in written:
            name = Tf.MakeValidIdentifier(part.name)
            name = name if name not in taken else f"{name}_{len(taken)}"
            taken.add(name)
            _add_mesh(stage, f"/relief/{name}", part, offset)
        stage.GetRootLayer().Save()


def _add_mesh(stage: Any, at: str, part: Part, offset: np.ndarray) -> None:
    """One object: a mesh moved by the offset that its points lack, its colours, and a material of one colour."""
    from pxr import Gf, UsdGeom, Vt

    mesh = UsdGeom.Mesh.Define(stage, at)
    points = (np.asarray(part.mesh.vertices) - offset).astype(np.float32)
    faces = np.ascontiguousarray(part.mesh.faces, np.int32)
    mesh.AddTranslateOp().Set(Gf.Vec3d(*offset.tolist()))
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([points.min(0), points.max(0)])))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateDoubleSidedAttr(True)
    mesh.GetPrim().SetDisplayName(part.name)
    kind, own = own_colors(part.mesh)
    if part.color is not None or kind is None:
        colors, spread = np.array([part.color or (0.8, 0.8, 0.8)], np.float64), UsdGeom.Tokens.constant
        _bind_material(stage, mesh, to_linear(colors[0]).tolist())
    else:
        colors, spread = own / 255, UsdGeom.Tokens.vertex if kind == "vertex" else UsdGeom.Tokens.uniform
    primvar = mesh.CreateDisplayColorPrimvar(spread)
    primvar.Set(Vt.Vec3fArray.FromNumpy(to_linear(colors).astype(np.float32)))


def _bind_material(stage: Any, mesh: Any, color: list[float]) -> None:
    """A rough, non-metallic preview surface of one linear colour."""
    from pxr import Gf, Sdf, UsdShade

    material = UsdShade.Material.Define(stage, mesh.GetPath().AppendChild("material"))
    shader = UsdShade.Shader.Define(stage, material.GetPath().AppendChild("surface"))
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(*color))
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(ROUGHNESS)
    shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
