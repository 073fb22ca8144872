"""One small scene of posed images, written in every format from its specification."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from render.cameras import Camera, look_at

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
COUNT = 4
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
POINTS = np.array([[0.1, 0.2, 0.3], [-0.4, 0.5, 0.0], [0.3, -0.2, -0.1]])
COLORS = np.array([[255, 0, 0], [0, 200, 0], [10, 20, 30]], np.uint8)


def color(index: int) -> tuple[int, int, int]:
    """The colour of the image of this index."""
    return 40 * index, 200 - 30 * index, 90


def cameras() -> list[Camera]:
    """Cameras that look at the origin from around it."""
    angles = 0.4 + 0.9 * np.arange(COUNT)
    places = np.stack([3 * np.cos(angles), 2.5 * np.sin(angles), 0.5 + 0.2 * angles], axis=1)
    intrinsics = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
    return [Camera(look_at(place, (0.1, 0.0, 0.2)), intrinsics, WIDTH, HEIGHT) for place in places]


def camera_to_world(camera: Camera) -> np.ndarray:
    return np.linalg.inv(camera.world_to_camera)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """w, x, y, z."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])


def write_images(folder: Path, names: list[str] | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[str]:
    """Flat pictures, each in its colour."""
    names = [f"img_{i}.png" for i in range(COUNT)] if names is None else names
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color(index)).save(folder / name)
    return names


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def colmap_binary(folder: Path) -> None:
    names = write_images(folder / "images")
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    parameters = struct.pack("<4d", FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ", 1, 7, 1, WIDTH, HEIGHT) + parameters)
    content = struct.pack("<Q", COUNT)
    for index, (name, camera) in enumerate(zip(names, cameras(), strict=True)):
        pose = (*quaternion(camera.world_to_camera[:3, :3]), *camera.world_to_camera[:3, 3])
        content += struct.pack("<i7di", index + 1, *pose, 7) + name.encode() + b"\0"
        content += struct.pack("<Q", index) + struct.pack("<ddq", 1.5, 2.5, -1) * index
    (model / "images.bin").write_bytes(content)
    content = struct.pack("<Q", len(POINTS))
    for index, (point, rgb) in enumerate(zip(POINTS, COLORS, strict=True)):
        content += struct.pack("<Q3d3Bd", index, *point, *rgb, 0.5) + struct.pack("<Q", index)
        content += struct.pack("<ii", 1, 0) * index
    (model / "points3D.bin").write_bytes(content)


def colmap_text(folder: Path) -> None:
    names = write_images(folder / "images")
    model = folder / "sparse"
    model.mkdir()
    (model / "cameras.txt").write_text(
        f"# cameras\n3 SIMPLE_PINHOLE {WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2}\n"
    )
    lines = ["# images", "#"]
    for index, (name, camera) in enumerate(zip(names, cameras(), strict=True)):
        pose = (*quaternion(camera.world_to_camera[:3, :3]), *camera.world_to_camera[:3, 3])
        lines += [
            f"{index + 1} {' '.join(map(repr, map(float, pose)))} 3 {name}",
            "1.5 2.5 -1 3.5 4.5 2" if index else "",
        ]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    rows = [
        f"{i} {' '.join(map(str, p))} {' '.join(map(str, c))} 0.5 1 0\n"
        for i, (p, c) in enumerate(zip(POINTS, COLORS, strict=True))
    ]
    (model / "points3D.txt").write_text("".join(rows))


def colmap_by_pycolmap(folder: Path) -> None:
    import pycolmap

    names = write_images(folder / "images")
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model="PINHOLE", width=WIDTH, height=HEIGHT, params=[FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2], camera_id=1
    )
    model.add_camera_with_trivial_rig(camera)
    for index, (name, one) in enumerate(zip(names, cameras(), strict=True)):
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(one.world_to_camera[:3, :3]), one.world_to_camera[:3, 3])
        image = pycolmap.Image(name=name, camera_id=1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, pose)
    for point, rgb in zip(POINTS, COLORS, strict=True):
        model.add_point3D(point, pycolmap.Track(), rgb)
    (folder / "sparse" / "0").mkdir(parents=True)
    model.write(folder / "sparse" / "0")


def transforms(folder: Path, **more: object) -> None:
    names = write_images(folder, [f"images/img_{i}.png" for i in range(COUNT)])
    frames = [
        {"file_path": f"./{name}", "transform_matrix": (camera_to_world(camera) @ OPENGL).tolist()}
        for name, camera in zip(names, cameras(), strict=True)
    ]
    content = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    write_json(folder / "transforms.json", {**content, "frames": frames, **more})


def transforms_applied(folder: Path) -> None:
    """As nerfstudio writes what it made of a COLMAP model: world rows permuted, here also moved and scaled."""
    write_images(folder / "images")
    applied = np.array([[1.0, 0, 0, 0.3], [0, 0, 1, -0.2], [0, -1, 0, 0.1], [0, 0, 0, 1]])
    frames = []
    for index, camera in enumerate(cameras()):
        matrix = applied @ camera_to_world(camera) @ OPENGL
        matrix[:3, 3] *= 0.25
        intrinsics = {"fl_x": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
        frames.append({"file_path": f"images/img_{index}.png", "transform_matrix": matrix.tolist(), **intrinsics})
    moved = 0.25 * (POINTS @ applied[:3, :3].T + applied[:3, 3])
    header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    rows = "".join(" ".join(map(str, row)) + "\n" for row in moved)
    (folder / "sparse_pc.ply").write_text(header + "end_header\n" + rows)
    content = {"applied_transform": applied[:3].tolist(), "applied_scale": 0.25, "ply_file_path": "sparse_pc.ply"}
    write_json(folder / "transforms.json", {"camera_model": "OPENCV", "frames": frames, **content})


def nerf_synthetic(folder: Path) -> None:
    angle = 2 * np.arctan(WIDTH / 2 / FOCAL)
    write_images(folder, [f"{part}/img_{i}.png" for i, part in enumerate(("train", "train", "test", "test"))])
    for part, chosen in {"train": (0, 1), "test": (2, 3)}.items():
        frames = [
            {"file_path": f"./{part}/img_{i}", "transform_matrix": (camera_to_world(cameras()[i]) @ OPENGL).tolist()}
            for i in chosen
        ]
        write_json(folder / f"transforms_{part}.json", {"camera_angle_x": angle, "frames": frames})


def llff(folder: Path) -> None:
    write_images(folder / "images")
    rows = []
    for camera in cameras():
        right, down, forward, position = camera_to_world(camera)[:3].T
        matrix = np.stack([down, right, -forward, position, (HEIGHT, WIDTH, FOCAL)], axis=1)
        rows.append([*matrix.ravel(), 1.0, 5.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))


def idr(folder: Path) -> None:
    """Projection matrices for pixel centres at whole numbers, known up to a factor, negative ones too."""
    write_images(folder / "image")
    arrays = {}
    for index, camera in enumerate(cameras()):
        whole = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ camera.intrinsics
        matrix = np.eye(4)
        matrix[:3] = (-2.0 if index % 2 else 3.0) * whole @ camera.world_to_camera[:3]
        arrays |= {f"world_mat_{index}": matrix, f"scale_mat_{index}": np.diag([2.0, 2, 2, 1])}
    np.savez(folder / "cameras_sphere.npz", **arrays)


def projection_matrices(folder: Path) -> None:
    write_images(folder / "images")
    (folder / "P").mkdir()
    for index, camera in enumerate(cameras()):
        whole = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ camera.intrinsics
        np.savetxt(folder / "P" / f"img_{index}_P.txt", 0.7 * whole @ camera.world_to_camera[:3], fmt="%.12g")


def polycam(folder: Path) -> None:
    write_images(folder / "keyframes" / "corrected_images")
    for index, camera in enumerate(cameras()):
        matrix = camera_to_world(camera) @ OPENGL
        pose = {f"t_{row}{column}": matrix[row, column] for row in range(3) for column in range(4)}
        intrinsics = {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "width": WIDTH, "height": HEIGHT}
        file = folder / "keyframes" / "corrected_cameras" / f"img_{index}.json"
        write_json(file, {**intrinsics, **pose, "blur_score": 80.0, "timestamp": index})


def record3d(folder: Path) -> None:
    write_images(folder / "rgb", [f"{index}.png" for index in range(COUNT)])
    poses = []
    for camera in cameras():
        matrix = camera_to_world(camera) @ OPENGL
        w, x, y, z = quaternion(matrix[:3, :3])
        poses.append([x, y, z, w, *matrix[:3, 3]])
    k = [FOCAL, 0, 0, 0, FOCAL, 0, WIDTH / 2, HEIGHT / 2, 1]
    write_json(folder / "metadata.json", {"poses": poses, "K": k, "w": WIDTH, "h": HEIGHT, "fps": 60})


def opensfm(folder: Path) -> None:
    from scipy.spatial.transform import Rotation

    names = write_images(folder / "images")
    shots = {
        name: {
            "rotation": Rotation.from_matrix(camera.world_to_camera[:3, :3]).as_rotvec().tolist(),
            "translation": camera.world_to_camera[:3, 3].tolist(),
            "camera": "v2",
        }
        for name, camera in zip(names, cameras(), strict=True)
    }
    lens = {
        "projection_type": "perspective",
        "width": WIDTH,
        "height": HEIGHT,
        "focal": FOCAL / WIDTH,
        "k1": 0,
        "k2": 0,
    }
    points = {str(i): {"color": COLORS[i].tolist(), "coordinates": POINTS[i].tolist()} for i in range(len(POINTS))}
    smaller = {"cameras": {"v2": lens}, "shots": {}, "points": {}}
    write_json(folder / "reconstruction.json", [smaller, {"cameras": {"v2": lens}, "shots": shots, "points": points}])


def metashape(folder: Path) -> None:
    """With a chunk that is turned, moved and scaled, and labels without their extension."""
    from scipy.spatial.transform import Rotation

    write_images(folder / "photos")
    chunk = np.eye(4)
    chunk[:3, :3], chunk[:3, 3] = 0.2 * Rotation.from_euler("xyz", [0.3, -0.5, 1.0]).as_matrix(), (0.5, -1.0, 2.0)
    rotation, translation = (" ".join(map(repr, part.ravel().tolist())) for part in (chunk[:3, :3] / 0.2, chunk[:3, 3]))
    entries = []
    for index, camera in enumerate(cameras()):
        local = np.linalg.inv(chunk) @ camera_to_world(camera)
        local[:3, :3] *= 0.2
        numbers = " ".join(map(repr, local.ravel().tolist()))
        entries.append(
            f'<camera id="{index}" sensor_id="0" label="img_{index}"><transform>{numbers}</transform></camera>'
        )
    (folder / "cameras.xml").write_text(f"""<?xml version="1.0" encoding="UTF-8"?>
<document version="2.0.0"><chunk label="Chunk 1">
<sensors><sensor id="0" label="unknown" type="frame"><resolution width="{WIDTH}" height="{HEIGHT}"/>
<calibration type="frame" class="adjusted"><resolution width="{WIDTH}" height="{HEIGHT}"/>
<f>{FOCAL}</f><cx>0</cx><cy>0</cy></calibration></sensor></sensors>
<cameras>{"".join(entries)}<camera id="9" sensor_id="0" label="not aligned"/></cameras>
<transform><rotation>{rotation}</rotation><translation>{translation}</translation><scale>0.2</scale></transform>
</chunk></document>""")


def relief(folder: Path) -> None:
    names = write_images(folder / "images")
    entries = [
        {
            "name": f"images/{name}",
            "width": WIDTH,
            "height": HEIGHT,
            "intrinsics": camera.intrinsics.tolist(),
            "world_to_camera": camera.world_to_camera.tolist(),
            "held_out": name == "img_1.png",
        }
        for name, camera in zip(names, cameras(), strict=True)
    ]
    write_json(folder / "cameras.json", {"cameras": entries, "frame": {"unit": "m", "up": [0, 0, 1]}})


WRITERS = {
    writer.__name__: writer
    for writer in (
        *(colmap_binary, colmap_text, colmap_by_pycolmap, transforms, transforms_applied, nerf_synthetic, llff, idr),
        *(projection_matrices, polycam, record3d, opensfm, metashape, relief),
    )
}
