# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The Relief authors
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
# documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
# rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
# persons to whom the Software is furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
# Software.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
# WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
# COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
# OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""Brings a scene exported by Relief into Blender 4.2 or newer.

In Blender: open this file in the Scripting workspace and run it. From a shell:

    blender --background --python import_relief.py -- --save scene.blend

Reads `scene.glb` (or `frame.json`, where there is no mesh), and `contours.json`, `points.ply` and `cameras.json` where
they are there, beside this file and makes
the collection "Relief": the objects in metres, Z-up, without location, rotation or scale left on them; the input's
contours as curves, or its points; the cameras; one more camera that sees it all, and a light.

What lies far from the origin (map coordinates) is brought to it, because Blender's float32 could not show it there: the
collection's property "offset" is what to add, in the export's unit and axes, to have the user's coordinates again.
"""

import argparse
import json
import struct
import sys
from pathlib import Path

import bpy  # pyright: ignore[reportMissingImports]
from mathutils import Matrix, Quaternion, Vector  # pyright: ignore[reportMissingImports]

LENGTH_UNITS = {"mm": "MILLIMETERS", "cm": "CENTIMETERS", "m": "METERS"}
OPENCV_TO_BLENDER = Matrix.Diagonal((1, -1, -1, 1))


def main():
    """Imports the folder that this file lies in; with --save, into an empty scene that is saved."""
    parser = argparse.ArgumentParser(prog="import_relief.py", description="Brings a Relief export into Blender.")
    parser.add_argument("--save", metavar="FILE", help="start from an empty scene and save it as this .blend file")
    options = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
    if options.save:
        bpy.ops.wm.read_factory_settings(use_empty=True)
    import_folder(this_folder())
    if options.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(options.save).resolve()), compress=True)


def this_folder():
    """The folder of this file, also when it runs from Blender's text editor."""
    for text in bpy.data.texts:
        if text.filepath and Path(bpy.path.abspath(text.filepath)).name == "import_relief.py":
            return Path(bpy.path.abspath(text.filepath)).parent
    return Path(__file__).resolve().parent


def import_folder(folder):
    """Imports what lies in the folder; gives the new collection."""
    collection = new_collection("Relief", bpy.context.scene.collection)
    unit, offset, to_blender = frame_of(folder)
    collection["offset"], collection["unit"] = offset, unit
    set_units(unit)
    shown = []
    if (folder / "scene.glb").is_file():
        shown = import_objects(folder / "scene.glb", new_collection("Objects", collection))
    if (folder / "points.json").is_file():
        facts = json.loads((folder / "points.json").read_text(encoding="utf-8"))
        shift = [theirs - ours for theirs, ours in zip(facts["offset"], offset, strict=True)]
        cloud = new_collection("Points", collection)
        points = add_points(folder / "points.ply", to_blender, to_blender @ Vector(shift), facts["radius"], cloud)
        shown = shown or [points]
    low, high = bounds(shown)
    size = (high - low).length
    if (folder / "contours.json").is_file():
        contours = json.loads((folder / "contours.json").read_text(encoding="utf-8"))
        shift = [theirs - ours for theirs, ours in zip(contours["offset"], offset, strict=True)]
        lines = new_collection("Contours", collection)
        add_contours(contours["contours"], to_blender, to_blender @ Vector(shift), 0.0015 * size, lines)
    if (folder / "cameras.json").is_file():
        cameras = json.loads((folder / "cameras.json").read_text(encoding="utf-8"))["cameras"]
        add_cameras(cameras, to_blender, offset, 0.05 * size, new_collection("Cameras", collection))
    add_view(low, high, collection)
    return collection


def frame_of(folder):
    """The export's unit, the offset that all coordinates lack, and the 3x3 matrix from the user's coordinates, less the
    offset, to Blender's: what frame.json says, or for a GLB first the root node's to glTF's Y-up metres, then the
    importer's (x, y, z) -> (x, -z, y)."""
    if (folder / "frame.json").is_file():
        facts = json.loads((folder / "frame.json").read_text(encoding="utf-8"))
        return facts["unit"], facts["offset"], Matrix(facts["to_blender"])
    with (folder / "scene.glb").open("rb") as file:
        length = struct.unpack("<4sIIII", file.read(20))[3]
        document = json.loads(file.read(length))
    root = document["nodes"][0]
    x, y, z, w = root["rotation"]
    turn = Matrix(((1, 0, 0), (0, 0, -1), (0, 1, 0))) @ Quaternion((w, x, y, z)).to_matrix()
    return root["extras"]["relief"]["unit"], document["nodes"][1]["translation"], turn * root["scale"][0]


def set_units(unit):
    """Shows lengths in the export's unit; one Blender unit stays one metre."""
    settings = bpy.context.scene.unit_settings
    settings.system = "METRIC" if unit in LENGTH_UNITS else "NONE"
    settings.scale_length = 1.0
    if unit in LENGTH_UNITS:
        settings.length_unit = LENGTH_UNITS[unit]


def import_objects(path, collection):
    """The GLB's meshes as objects of the collection, nothing left of their transforms."""
    before = set(bpy.data.objects)
    bpy.ops.import_scene.gltf(filepath=str(path))
    bpy.context.view_layer.update()
    new = [item for item in bpy.data.objects if item not in before]
    meshes = [item for item in new if item.type == "MESH"]
    turned = [(item, item.matrix_world.to_3x3().to_4x4()) for item in meshes]
    for item, matrix in turned:
        item.parent = None
        item.data.transform(matrix)
        item.matrix_world = Matrix.Identity(4)
        item.data.name = item.name
        for material in item.data.materials:
            finish_material(material, item.data)
        move_to(item, collection)
    for item in set(new) - set(meshes):
        bpy.data.objects.remove(item)
    bpy.context.view_layer.update()
    return meshes


def finish_material(material, mesh):
    """Joins vertex colours to the material, and gives it the same colour in the solid view."""
    surface = next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if surface is None:
        return
    color = surface.inputs["Base Color"]
    if mesh.color_attributes and not color.is_linked:
        node = material.node_tree.nodes.new("ShaderNodeVertexColor")
        node.layer_name = mesh.color_attributes[0].name
        node.location = surface.location - Vector((240, 0))
        material.node_tree.links.new(node.outputs["Color"], color)
    material.diffuse_color = color.default_value[:]
    material.roughness = surface.inputs["Roughness"].default_value


def add_contours(contours, to_blender, location, thickness, collection):
    """A curve object for each label of the input; they show the input and are left out of renders."""
    collection.hide_render = True
    groups = {}
    for contour in contours:
        groups.setdefault((contour["label"], tuple(contour["color"])), []).append(contour)
    for (label, color), members in groups.items():
        curve = bpy.data.curves.new(f"{label} contours", "CURVE")
        curve.dimensions = "3D"
        curve.bevel_depth = thickness
        curve.bevel_resolution = 1
        for contour in members:
            spline = curve.splines.new("POLY")
            spline.points.add(len(contour["points"]) - 1)
            flat = [number for point in contour["points"] for number in (*(to_blender @ Vector(point)), 1.0)]
            spline.points.foreach_set("co", flat)
            spline.use_cyclic_u = contour["closed"]
        curve.materials.append(plain_material(f"{label} contours", color))
        item = bpy.data.objects.new(curve.name, curve)
        item.location = location
        collection.objects.link(item)


def add_points(path, to_blender, location, radius, collection):
    """The points as a mesh of vertices alone, drawn as balls; they show the input and are left out of renders. Gives
    their object."""
    collection.hide_render = True
    bpy.ops.wm.ply_import(filepath=str(path), forward_axis="Y", up_axis="Z")
    item = bpy.context.view_layer.objects.active
    item.name = item.data.name = "points"
    item.matrix_world = Matrix.Identity(4)
    item.data.transform(to_blender.to_4x4())
    item.location = location
    colors = item.data.color_attributes[0].name if item.data.color_attributes else None
    balls = item.modifiers.new("balls", "NODES")
    balls.node_group = ball_nodes(radius * to_blender.to_scale()[0], point_material(colors))
    move_to(item, collection)
    bpy.context.view_layer.update()
    return item


def ball_nodes(radius, material):
    """A node group that shows a mesh's vertices as points of that radius."""
    group = bpy.data.node_groups.new("Relief points", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    kinds = ("NodeGroupInput", "GeometryNodeMeshToPoints", "GeometryNodeSetMaterial", "NodeGroupOutput")
    nodes = [group.nodes.new(kind) for kind in kinds]
    for place, (node, following) in enumerate(zip(nodes, nodes[1:], strict=False)):
        node.location = (220 * place, 0)
        group.links.new(node.outputs[0], following.inputs[0])
    nodes[1].inputs["Radius"].default_value = radius
    nodes[2].inputs["Material"].default_value = material
    return group


def point_material(colors):
    """A rough material in the points' own colours, where they have any."""
    material = plain_material("points", (0.62, 0.70, 0.78))
    if colors is not None:
        nodes, links = material.node_tree.nodes, material.node_tree.links
        attribute = nodes.new("ShaderNodeAttribute")
        attribute.attribute_name = colors
        links.new(attribute.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    return material


def plain_material(name, srgb):
    """A rough material of one sRGB colour, a little darker than the surface that the lines lie on."""
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) * 0.5 for c in srgb]
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*linear, 1.0)
    material.diffuse_color = (*linear, 1.0)
    return material


def add_cameras(cameras, to_blender, offset, size, collection):
    """A camera object for each camera of the input (OpenCV axes, intrinsics in pixels)."""
    world = to_blender.to_4x4()
    scale = world.to_scale()[0]
    for entry in cameras:
        (fx, _, cx), (_, _, cy) = entry["intrinsics"][0], entry["intrinsics"][1]
        width, height = entry["width"], entry["height"]
        camera = bpy.data.cameras.new(entry["name"])
        camera.sensor_fit = "HORIZONTAL"
        camera.lens = fx / width * camera.sensor_width
        camera.shift_x = (width / 2 - cx) / width
        camera.shift_y = (cy - height / 2) / width
        camera.display_size = size
        item = bpy.data.objects.new(entry["name"], camera)
        rows = entry["world_to_camera"]
        near = [row[:3] + [row[3] + sum(row[i] * offset[i] for i in range(3))] for row in rows[:3]]
        pose = world @ Matrix([*near, rows[3]]).inverted() @ OPENCV_TO_BLENDER
        item.matrix_world = pose @ Matrix.Scale(1 / scale, 4)
        collection.objects.link(item)


def add_view(low, high, collection):
    """A camera that sees all from the front right, above; a sun over its shoulder; a grey sky."""
    scene, size = bpy.context.scene, (high - low).length
    camera = bpy.data.cameras.new("View")
    camera.clip_start, camera.clip_end = size / 1000, size * 100
    view = bpy.data.objects.new("View", camera)
    direction = Vector((0.5, -0.87, 0.4)).normalized()
    view.rotation_euler = direction.to_track_quat("Z", "Y").to_euler()
    collection.objects.link(view)
    corners = [(x, y, z) for x in (low.x, high.x) for y in (low.y, high.y) for z in (low.z, high.z)]
    bpy.context.view_layer.update()
    flat = [number for corner in corners for number in corner]
    view.location, _ = view.camera_fit_coords(bpy.context.evaluated_depsgraph_get(), flat)
    scene.camera = scene.camera or view
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.data.angle = 3.2, 0.3
    sun.rotation_euler = Vector((-0.2, -0.8, 0.9)).to_track_quat("Z", "Y").to_euler()
    sun.location = high
    collection.objects.link(sun)
    if scene.world is None:
        scene.world = bpy.data.worlds.new("World")
        scene.world.color = (0.25, 0.25, 0.26)
        scene.world.use_nodes = True
        scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.4, 0.41, 0.43, 1.0)
    show_whole(size)


def show_whole(size):
    """Lets the 3D views show a scene of this size: Blender's own near limit is a centimetre."""
    for screen in bpy.data.screens:
        for area in screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D":
                    space.clip_start, space.clip_end = min(0.01, size / 1000), max(1000.0, size * 100)


def bounds(objects):
    """The corners of the box around the objects."""
    points = [item.matrix_world @ Vector(corner) for item in objects for corner in item.bound_box]
    axes = list(zip(*points, strict=True))
    return Vector([min(axis) for axis in axes]), Vector([max(axis) for axis in axes])


def new_collection(name, parent):
    """A new collection under another."""
    collection = bpy.data.collections.new(name)
    parent.children.link(collection)
    return collection


def move_to(item, collection):
    """Takes an object out of its collections and into this one."""
    for other in item.users_collection:
        other.objects.unlink(item)
    collection.objects.link(item)


if __name__ == "__main__":
    main()
