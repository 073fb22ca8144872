"""The Blender export opened by Blender itself: a Python that has bpy, named by RELIEF_BPY_PYTHON, in a subprocess."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from splat_scene import scene_of_balls, views_of_balls

from app.export import export
from app.kinds import MethodInput
from recon.formats.meshes import read_scene
from recon.formats.scene_folder import write_scene_folder
from recon.inputs import CrossSections, PointCloud
from recon.scene import Frame, Scene
from recon.slices import Label, Plane, Ring
from render.cameras import Camera, look_at

PYTHON = os.environ.get("RELIEF_BPY_PYTHON", "")
pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(not PYTHON, reason="RELIEF_BPY_PYTHON does not name a Python that has bpy"),
]

PROBE = """
import bpy, json, sys
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
scene = bpy.context.scene
found = {"unit": [scene.unit_settings.system, scene.unit_settings.length_unit, scene.unit_settings.scale_length]}
found["objects"] = {}
for item in bpy.data.objects:
    entry = {"type": item.type, "collections": [c.name for c in item.users_collection], "scale": list(item.scale)}
    entry["rotation"] = list(item.rotation_euler)
    entry["parent"] = item.parent is not None
    if item.type == "MESH" and item.name == "points":
        entry["points"] = [list(item.matrix_world @ v.co) for v in item.data.vertices]
        entry["colors"] = [list(c.color_srgb) for a in item.data.color_attributes for c in a.data]
        geometry = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).evaluated_geometry()
        cloud = geometry.pointcloud
        entry["radii"] = [a.value for a in cloud.attributes["radius"].data]
        entry["drawn"] = cloud.materials[0].name
    elif item.type == "MESH":
        world = item.matrix_world
        entry["points"] = [list(world @ v.co) for v in item.data.vertices]
        entry["faces"] = [list(p.vertices) for p in item.data.polygons]
        entry["normals"] = [list(n.vector) for n in item.data.corner_normals]
        entry["corners"] = [loop.vertex_index for loop in item.data.loops]
        surface = item.data.materials[0].node_tree.nodes["Principled BSDF"]
        for name in ("Base Color", "Metallic", "Roughness"):
            value = surface.inputs[name].default_value
            entry[name] = list(value) if name == "Base Color" else value
        entry["material"] = item.data.materials[0].name
        entry["linked"] = [link.from_node.layer_name for link in surface.inputs["Base Color"].links]
        entry["colors"] = [list(c.color) for a in item.data.color_attributes for c in a.data]
    if item.type == "CURVE":
        entry["points"] = [list(item.matrix_world @ p.co.to_3d()) for s in item.data.splines for p in s.points]
        entry["cyclic"] = [s.use_cyclic_u for s in item.data.splines]
        entry["radius"] = item.data.bevel_depth * item.data.splines[0].points[0].radius
    if item.type == "CAMERA":
        size = json.loads(sys.argv[2]).get(item.name)
        if size:
            scene.render.resolution_x, scene.render.resolution_y = size[:2]
            bpy.context.view_layer.update()
            entry["seen"] = list(world_to_camera_view(scene, item, Vector(size[2])))
    found["objects"][item.name] = entry
found["camera"], found["offset"] = scene.camera.name, list(bpy.data.collections["Relief"]["offset"])
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 8, False
scene.view_settings.view_transform = "Standard"
scene.render.resolution_x, scene.render.resolution_y = 96, 72
scene.render.film_transparent = True
scene.render.image_settings.file_format = "PNG"
scene.render.image_settings.color_mode = "RGBA"
scene.render.filepath = sys.argv[3]
bpy.ops.render.render(write_still=True)
print("FOUND" + json.dumps(found))
"""


def seen_by_blender(tmp_path: Path, scene: Scene, input: MethodInput | None = None, cameras: dict | None = None):
    """What Blender finds in scene.blend, and its picture of it (72, 96, 4) in [0, 1]."""
    from PIL import Image

    run = tmp_path / "run"
    write_scene_folder(scene, run / "scene")
    asked = {}
    if cameras is not None:
        asked = {entry["name"]: [entry["width"], entry["height"], entry.pop("probe")] for entry in cameras["cameras"]}
        (run / "scene" / "cameras.json").write_text(json.dumps(cameras))
    folder = export(run, "blender", input=input, blender=Path(PYTHON)).path
    (tmp_path / "probe.py").write_text(PROBE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    picture = tmp_path / "picture.png"
    command = [PYTHON, "-s", tmp_path / "probe.py", folder / "scene.blend", json.dumps(asked), picture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=clean, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    return json.loads(line[5:]), np.asarray(Image.open(picture)) / 255


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A labelled scene in millimetres with contours and a camera, through Blender."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=20.0)
    ball.apply_translation((10.0, -40.0, 70.0))
    box = trimesh.creation.box((10, 20, 30))
    labels = (Label(1, "Lt Lung/<b>", (0.9, 0.2, 0.1)), Label(2, "Herz ü", (0.1, 0.3, 0.8)))
    scene = Scene(objects={"Lt Lung/<b>": ball, "Herz ü": box}, labels=labels, frame=Frame(unit="mm"))
    square = np.array([[-5, -10], [5, -10], [5, 10], [-5, 10.0]])
    plane = Plane(np.array([0, 0, 7.0]), np.array([[1.0, 0, 0], [0, 1, 0]]), (Ring(square, 2),))
    camera = Camera(
        look_at((200, -300, 120), (0, 0, 20)), np.array([[500.0, 0, 170], [0, 500, 110], [0, 0, 1]]), 320, 240
    )
    probe = np.array([[12.0, -35, 60]])
    entry = {
        "name": "IMG_1.jpg",
        "width": 320,
        "height": 240,
        "intrinsics": camera.intrinsics.tolist(),
        "world_to_camera": camera.world_to_camera.tolist(),
        "held_out": False,
        "probe": (probe[0] * 1e-3).tolist(),
    }
    sections = CrossSections(labels=labels, contours=(plane,), unit="mm")
    found, picture = seen_by_blender(tmp_path_factory.mktemp("blender"), scene, sections, {"cameras": [entry]})
    return scene, found, picture, camera.project(probe)[0][0]


def test_vertices_are_the_same_in_metres_z_up(opened):
    scene, found, _, _ = opened
    for name, mesh in scene.objects.items():
        seen = found["objects"][name]
        np.testing.assert_allclose(seen["points"], mesh.vertices * 1e-3, atol=1e-7)
        np.testing.assert_array_equal(seen["faces"], mesh.faces)
        assert seen["scale"] == pytest.approx([1, 1, 1]) and seen["rotation"] == pytest.approx([0, 0, 0], abs=1e-6)
        assert not seen["parent"] and seen["collections"] == ["Objects"]


def test_normals_point_outward_and_are_smooth(opened):
    scene, found, _, _ = opened
    ball, seen = scene.objects["Lt Lung/<b>"], found["objects"]["Lt Lung/<b>"]
    outward = (ball.vertices - ball.vertices.mean(0))[seen["corners"]] / 20
    assert np.einsum("nc,nc->n", seen["normals"], outward).min() > 0.999


def test_materials_have_the_labels_names_and_linear_colours(opened):
    """sRGB (0.9, 0.2, 0.1) is (0.787412, 0.033105, 0.010023) in linear light."""
    seen = opened[1]["objects"]["Lt Lung/<b>"]
    assert seen["material"] == "Lt Lung/<b>" and not seen["linked"]
    np.testing.assert_allclose(seen["Base Color"], (0.787412, 0.033105, 0.010023, 1), atol=1e-4)
    assert seen["Metallic"] == 0 and seen["Roughness"] == pytest.approx(0.8)


def test_units_are_millimetres_and_nothing_is_left_of_the_importer(opened):
    found = opened[1]
    assert found["unit"] == ["METRIC", "MILLIMETERS", 1.0]
    kinds = sorted(entry["type"] for entry in found["objects"].values())
    assert kinds == ["CAMERA", "CAMERA", "CURVE", "LIGHT", "MESH", "MESH"]


def test_contours_are_curves_on_the_surface(opened):
    curve = opened[1]["objects"]["Herz ü contours"]
    expected = np.array([[-5, -10, 7], [5, -10, 7], [5, 10, 7], [-5, 10, 7]]) * 1e-3
    np.testing.assert_allclose(curve["points"], expected, atol=1e-8)
    assert curve["cyclic"] == [True] and curve["collections"] == ["Contours"]
    assert 1e-4 < curve["radius"] < 5e-4


def test_a_camera_sees_a_point_where_opencv_says(opened):
    """Blender counts from the lower left, in parts of the picture."""
    _, found, _, pixel = opened
    seen = found["objects"]["IMG_1.jpg"]["seen"]
    np.testing.assert_allclose([seen[0] * 320, (1 - seen[1]) * 240], pixel, atol=0.02)
    assert seen[2] > 0


def test_the_picture_shows_all_in_its_colours(opened):
    picture, found = opened[2], opened[1]
    assert found["camera"] == "View"
    alpha = picture[..., 3]
    assert 0.05 < (alpha > 0.5).mean() < 0.7
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert not border.any()
    red, green, blue = np.moveaxis(picture[alpha > 0.99][:, :3], -1, 0)
    lung, heart = (red > 1.6 * green) & (red > 2 * blue), (blue > 1.2 * green) & (blue > 1.6 * red)
    assert lung.sum() > 100 and heart.sum() > 50 and (lung | heart).mean() > 0.9
    assert red[lung].max() > 0.6  # lit, not black as a metal would be


def test_vertex_colours_reach_the_material(tmp_path):
    """A terrain with vertex colours, far from the origin, in metres: sRGB 128 is 0.215861 in linear light."""
    x, y = np.meshgrid(np.linspace(0, 90, 10), np.linspace(0, 90, 10))
    points = np.stack([x, y, 5 * np.sin(x / 20)], -1).reshape(-1, 3) + (512_000.0, 5_412_000.0, 900.0)
    corner = np.arange(81) + np.arange(81) // 9
    faces = np.concatenate(
        [np.stack(c, 1) for c in ((corner, corner + 1, corner + 11), (corner, corner + 11, corner + 10))]
    )
    colors = np.tile(np.array([[128, 0, 255]], np.uint8), (100, 1))
    terrain = trimesh.Trimesh(points, faces, vertex_colors=colors, process=False)
    found, picture = seen_by_blender(tmp_path, Scene(mesh=terrain, frame=Frame(unit="m")))
    seen = found["objects"]["mesh"]
    assert seen["linked"] and found["unit"][1] == "METERS"
    np.testing.assert_allclose(seen["colors"], np.tile((0.215861, 0, 1, 1), (len(seen["colors"]), 1)), atol=1e-4)
    assert found["offset"] == pytest.approx(((points.min(0) + points.max(0)) / 2).tolist())
    np.testing.assert_allclose(seen["points"], points - found["offset"], atol=1e-5)
    shown = picture[picture[..., 3] > 0.99]
    assert len(shown) > 300 and np.median(shown[:, 2]) > 1.5 * np.median(shown[:, 1])


@pytest.mark.parametrize("up", [(1.0, 0.0, 0.0), (0.0, -1.0, 0.0)])
def test_another_upward_direction_turns_meshes_and_contours_alike(tmp_path, up):
    box = trimesh.creation.box((10, 20, 30))
    square = np.array([[-5, -10], [5, -10], [5, 10], [-5, 10.0]])
    plane = Plane(np.array([0, 0, 15.0]), np.array([[1.0, 0, 0], [0, 1, 0]]), (Ring(square, 1),))
    label = (Label(1, "box", (0.2, 0.5, 0.8)),)
    sections = CrossSections(labels=label, contours=(plane,), unit="mm", up=up)
    scene = Scene(objects={"box": box}, labels=label, frame=Frame(unit="mm", up=up))
    objects = seen_by_blender(tmp_path, scene, sections)[0]["objects"]
    seen = np.array(objects["box"]["points"])
    np.testing.assert_allclose(seen[:, 2], 1e-3 * (box.vertices @ up), atol=1e-7)
    on_top = [np.flatnonzero((np.abs(box.vertices - corner) < 1e-6).all(1))[0] for corner in plane.to_world(square)]
    np.testing.assert_allclose(objects["box contours"]["points"], seen[on_top], atol=1e-7)


def test_the_glb_is_read_back_as_it_was_by_relief(opened, tmp_path):
    scene = opened[0]
    write_scene_folder(scene, tmp_path / "scene")
    back = read_scene(tmp_path / "scene" / "mesh.glb")
    for name, mesh in scene.objects.items():
        np.testing.assert_allclose(back.objects[name].vertices, mesh.vertices, atol=1e-5)


def test_points_stand_where_the_mesh_does_in_their_own_colours(tmp_path):
    """A box on a map in metres, and points on its corners; the points of the run win over those of the input."""
    corner = np.array([552_000.25, 5_241_000.5, 300.0])
    box = trimesh.creation.box((10, 20, 30))
    box.apply_translation(corner)
    colors = np.random.default_rng(0).integers(0, 256, (8, 3), np.uint8)
    cloud = PointCloud(np.asarray(box.vertices), colors=colors, unit="m")
    scene = Scene(mesh=box, points=cloud, frame=Frame(unit="m"))
    found, _ = seen_by_blender(tmp_path, scene, PointCloud(cloud.points + 1.0, unit="m"))
    points, mesh = found["objects"]["points"], found["objects"]["mesh"]
    assert found["offset"] == pytest.approx(corner.tolist())
    np.testing.assert_allclose(points["points"], mesh["points"], atol=1e-5)
    np.testing.assert_allclose(np.array(points["points"]) + found["offset"], cloud.points, atol=1e-5)
    np.testing.assert_allclose(np.array(points["colors"])[:, :3] * 255, colors, atol=0.51)
    assert points["collections"] == ["Points"] and points["drawn"] == "points"
    assert 0.5 < points["radii"][0] < 5 and len(points["radii"]) == 8


def test_a_texture_of_the_points_colours_is_on_the_mesh(tmp_path):
    """A sheet, red at one end and blue at the other."""
    sheet = trimesh.creation.box((4, 2, 0.01)).subdivide().subdivide()
    points = sheet.sample(4000, seed=1)
    share = (points[:, :1] + 2) / 4
    colors = np.rint(255 * np.concatenate([1 - share, 0 * share, share], axis=1)).astype(np.uint8)
    write_scene_folder(Scene(mesh=sheet, frame=Frame(unit="m")), tmp_path / "run" / "scene")
    folder = export(
        tmp_path / "run", "blender", input=PointCloud(points, colors=colors), blender=Path(PYTHON), texture=256
    ).path
    script = """
import bpy, json, sys
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
item = bpy.data.objects["mesh"]
surface = item.data.materials[0].node_tree.nodes["Principled BSDF"]
image = surface.inputs["Base Color"].links[0].from_node.image
uv = [list(entry.uv) for entry in item.data.uv_layers[0].data]
places = [list(item.data.vertices[loop.vertex_index].co) for loop in item.data.loops]
size, pixels = image.size[0], image.pixels[:]
found = []
for (u, v), place in zip(uv, places):
    at = 4 * (min(int(v * size), size - 1) * size + min(int(u * size), size - 1))
    found.append([place, pixels[at : at + 3]])
print("FOUND" + json.dumps(found))
"""
    (tmp_path / "probe.py").write_text(script)
    command = [PYTHON, "-s", tmp_path / "probe.py", folder / "scene.blend"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=clean, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(next(line[5:] for line in done.stdout.splitlines() if line.startswith("FOUND")))
    places, seen = np.array([place for place, _ in found]), np.array([color for _, color in found])
    share = (places[:, 0] + 2) / 4
    np.testing.assert_allclose(seen, np.stack([1 - share, 0 * share, share], axis=1), atol=0.06)


def test_splats_come_as_points_with_the_cameras_of_the_photos(tmp_path):
    """A run without a mesh, y down, in millimetres: 2 mm of the user's are 2e-3 of Blender's, its up is Blender's z."""
    views = views_of_balls(4)
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # the balls' z is up, the user's -y
    frame = Frame(2.0, turn, np.array([30.0, -20.0, 10.0]), "mm", (0.0, -1.0, 0.0))
    scene = replace(scene_of_balls(views), frame=frame)
    write_scene_folder(scene, tmp_path / "first")
    cameras = json.loads((tmp_path / "first" / "cameras.json").read_text())
    to_blender = 1e-3 * np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # by half a right turn about x
    point = np.array([31.0, -21.0, 10.5])
    expected = {}
    for entry, one in zip(cameras["cameras"], scene.cameras, strict=True):
        (u, v), *_ = frame.camera_to_user(one.camera).project(point[None])[0]
        entry["probe"] = (to_blender @ point).tolist()
        expected[entry["name"]] = (u / one.camera.width, 1 - v / one.camera.height)
    found, _ = seen_by_blender(tmp_path, scene, cameras=cameras)
    points = np.array(found["objects"]["points"]["points"]) + to_blender @ found["offset"]
    opaque = scene.gaussians.means[scene.gaussians.opacities > 0.3]
    np.testing.assert_allclose(points, frame.to_user(opaque) @ to_blender.T, atol=1e-5)
    for name, place in expected.items():
        np.testing.assert_allclose(found["objects"][name]["seen"][:2], place, atol=1e-4)
