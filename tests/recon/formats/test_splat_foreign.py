"""Splat files of other programs are read right, and other programs read ours right."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from splats_by_hand import component_errors, matched, sample

from recon.formats import splat_spz
from recon.formats.meshes import holds_mesh
from recon.formats.splat_frames import AXES_TURN, Y_DOWN
from recon.formats.splats import is_splats, read_splats, write_splats
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene

ORIGIN = np.zeros(3)


def scene(gaussians: Gaussians) -> Scene:
    return Scene(gaussians=gaussians, frame=Frame(up=Y_DOWN))


def same(found: Gaussians, given: Gaussians, places=1e-6, scales=1e-5, opacity=1e-6, dc=1e-6, rest=1e-6, turn=1e-6):
    """Each attribute within its bound."""
    assert np.abs(found.means - given.means).max() <= places
    assert np.abs(found.log_scales - given.log_scales).max() <= scales
    assert np.abs(found.opacities - given.opacities).max() <= opacity
    assert np.abs(found.sh[:, 0] - given.sh[:, 0]).max() <= dc
    if rest is not None:
        assert np.abs(found.sh[:, 1:] - given.sh[:, 1:]).max(initial=0) <= rest
    assert component_errors(found.quaternions, given.quaternions).max() <= turn


# Two codings of one number, each within half a step of it, are within a step of each other; the largest component of a
# quaternion follows from the others and may be off by sqrt 3 times as much.
COMPRESSED = dict(places=6 / 1023, scales=7 / 1023, opacity=1 / 255, dc=3.4 / 255, rest=1 / 32, turn=2.5 / 1023)
SPZ = dict(places=2.0**-12, scales=1 / 16, opacity=1 / 255, dc=1 / 255 / 0.15, rest=1 / 8, turn=2.5 / 511)


class TestGsply:
    """gsply, MIT."""

    gsply = pytest.importorskip("gsply")

    def to_gsply(self, g: Gaussians):
        return self.gsply.GSData.from_arrays(
            means=g.means, scales=g.log_scales, quats=g.rotations, opacities=g.opacity_logits, sh0=g.sh[:, 0],
            shN=np.ascontiguousarray(g.sh[:, 1:]), format="ply",
        )  # fmt: skip

    def of_gsply(self, data) -> Gaussians:
        rest = np.zeros((len(data), 0, 3)) if data.shN is None else np.asarray(data.shN).reshape(len(data), -1, 3)
        sh = np.concatenate([np.asarray(data.sh0)[:, None], rest], axis=1)
        arrays = (data.means, data.scales, data.quats, data.opacities, sh)
        return Gaussians(*(np.asarray(values, np.float32) for values in arrays))

    @pytest.mark.parametrize("degree", [0, 1, 2, 3])
    def test_ply(self, tmp_path, degree):
        given = sample(300, degree)
        self.gsply.plywrite(tmp_path / "theirs.ply", self.to_gsply(given))
        same(read_splats(tmp_path / "theirs.ply").gaussians, given)
        write_splats(scene(given), tmp_path / "ours.ply")
        same(self.of_gsply(self.gsply.plyread(tmp_path / "ours.ply")), given)

    @pytest.mark.parametrize("degree", [0, 1, 2, 3])
    def test_compressed_ply(self, tmp_path, degree):
        given = sample(300, degree)
        self.gsply.plywrite(tmp_path / "theirs.ply", self.to_gsply(given), compressed=True)
        (theirs,) = tmp_path.glob("theirs*.ply")
        same(matched(read_splats(theirs).gaussians, given), given, **COMPRESSED)
        write_splats(scene(given), tmp_path / "ours.compressed.ply")
        read_back = self.of_gsply(self.gsply.plyread(tmp_path / "ours.compressed.ply"))
        same(matched(read_back, given), given, **COMPRESSED)

    @pytest.mark.parametrize("version", [3, 4])
    @pytest.mark.parametrize("degree", [0, 1, 3])
    def test_spz(self, tmp_path, degree, version):
        from gsply.spz import read_spz, write_spz

        given = sample(300, degree)  # in the axes of cameras; gsply leaves the axes of SPZ as they are
        turned = given.transformed(1.0, AXES_TURN, ORIGIN)
        write_spz(tmp_path / "theirs.spz", self.to_gsply(turned), version=version)
        same(read_splats(tmp_path / "theirs.spz").gaussians, given, **SPZ)
        splat_spz.write(scene(given), tmp_path / "ours.spz", version)
        same(self.of_gsply(read_spz(tmp_path / "ours.spz")), turned, **SPZ)

    @pytest.mark.parametrize("degree", [0, 1, 2, 3])
    def test_sog(self, tmp_path, degree):
        pytest.importorskip("imagecodecs")
        given = sample(300, degree)
        for path in (tmp_path / "ours.sog", tmp_path / "folder" / "meta.json"):
            write_splats(scene(given), path)
            theirs, ours = self.of_gsply(self.gsply.sogread(path)), read_splats(path).gaussians
            same(theirs, ours, places=1e-5, opacity=0.25 / 255 + 1e-6)  # they take 0 and 255 for all but 0 and 1


class TestGsplat:
    """gsplat's exporter, Apache-2.0."""

    def export(self, given: Gaussians, format_: str, path):
        torch, exporter = pytest.importorskip("torch"), pytest.importorskip("gsplat.exporter")
        arrays = (
            given.means,
            given.log_scales,
            given.quaternions,
            given.opacity_logits,
            given.sh[:, :1],
            given.sh[:, 1:],
        )
        exporter.export_splats(*(torch.tensor(values) for values in arrays), format=format_, save_to=str(path))

    @pytest.mark.parametrize("degree", [0, 3])
    def test_ply(self, tmp_path, degree):
        given = sample(100, degree)
        self.export(given, "ply", tmp_path / "a.ply")
        found = read_splats(tmp_path / "a.ply")
        same(found.gaussians, given)
        assert found.frame.up == Y_DOWN

    def test_compressed_ply(self, tmp_path):
        given = sample(300)
        given.opacity_logits[:] = np.maximum(given.opacity_logits, -3)  # it leaves out what is fainter than 1/255
        self.export(given, "ply_compressed", tmp_path / "a.ply")
        same(matched(read_splats(tmp_path / "a.ply").gaussians, given), given, **COMPRESSED)

    def test_dot_splat(self, tmp_path):
        given = sample(100)
        self.export(given, "splat", tmp_path / "a.splat")
        found = matched(read_splats(tmp_path / "a.splat").gaussians, given)
        same(found, given, opacity=1 / 255, dc=1 / 255 / DC, rest=None, turn=2 / 128)  # it cuts off where we round


class TestOpen3d:
    """Open3D's tensor point clouds: opacity a logit, scales already exponentiated."""

    def to_open3d(self, g: Gaussians):
        o3d = pytest.importorskip("open3d")
        cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(g.means))
        attributes = {
            "f_dc": g.sh[:, 0], "f_rest": g.sh[:, 1:], "opacity": g.opacity_logits[:, None],
            "scale": g.scales, "rot": g.rotations,
        }  # fmt: skip
        for name, values in attributes.items():
            cloud.point[name] = o3d.core.Tensor(np.ascontiguousarray(values))
        return cloud

    def of_open3d(self, cloud) -> Gaussians:
        got = {name: cloud.point[name].numpy() for name in ("positions", "f_dc", "f_rest", "opacity", "scale", "rot")}
        sh = np.concatenate([got["f_dc"].reshape(-1, 1, 3), got["f_rest"]], axis=1)
        return Gaussians(got["positions"], np.log(got["scale"]), got["rot"], got["opacity"].ravel(), sh)

    def test_ply(self, tmp_path):
        o3d = pytest.importorskip("open3d")
        given = sample(100)
        o3d.t.io.write_point_cloud(str(tmp_path / "theirs.ply"), self.to_open3d(given))
        same(read_splats(tmp_path / "theirs.ply").gaussians, given)
        write_splats(scene(given), tmp_path / "ours.ply")
        same(self.of_open3d(o3d.t.io.read_point_cloud(str(tmp_path / "ours.ply"))), given)

    def test_dot_splat(self, tmp_path):
        o3d = pytest.importorskip("open3d")
        given = sample(100)
        o3d.t.io.write_point_cloud(str(tmp_path / "theirs.splat"), self.to_open3d(given))
        found = matched(read_splats(tmp_path / "theirs.splat").gaussians, given)
        same(found, given, opacity=1 / 255, dc=1 / 255 / DC, rest=None, turn=2 / 128)
        write_splats(scene(given), tmp_path / "ours.splat")
        cloud = o3d.t.io.read_point_cloud(str(tmp_path / "ours.splat"))
        order = np.lexsort(cloud.point.positions.numpy().T)
        assert np.array_equal(cloud.point.positions.numpy()[order], given.means[np.lexsort(given.means.T)])


FOREIGN = Path(__file__).parent / "foreign"
HALF_TURNS = {"as it is": [1, 1, 1], "x": [1, -1, -1], "y": [-1, 1, -1]}


def known() -> Gaussians:
    """What splat-transform and spz-js were given; four different rows of harmonics, for SOG's palette."""
    given = sample(48, 1, seed=7)
    given.sh[:, 1:] = np.tile(given.sh[:4, 1:], (12, 1, 1))
    return given


def covariances(g: Gaussians) -> np.ndarray:
    """In units of the greatest variance: what the signs of axes, on which programs differ, do not change."""
    axes = Rotation.from_quat(np.roll(g.rotations, -1, axis=1)).as_matrix() * g.scales[:, None, :]
    return axes @ axes.transpose(0, 2, 1) / g.scales.max(1)[:, None, None] ** 2


@pytest.mark.parametrize(
    ("name", "turned", "place", "shape", "colour", "rest"),
    [
        ("splat_transform.compressed.ply", "as it is", 6 / 1023, 0.01, 3.4 / 255, 1 / 32),
        ("splat_transform.sog", "as it is", 1e-3, 0.05, 3.4 / 255, 1e-5),
        ("splat_transform_3.spz", "as it is", 2.0**-12, 0.0645, 1 / 255 / 0.15, 1 / 16),
        ("splat_transform_4.spz", "as it is", 2.0**-12, 0.0645, 1 / 255 / 0.15, 1 / 16),
        ("spz_js_2.spz", "x", 2.0**-12, 0.1, 1 / 255 / 0.15, 1 / 16),  # it leaves the axes as they were in the PLY
        (
            "splat_transform.glb",
            "y",
            1e-6,
            1e-5,
            1e-6,
            1e-6,
        ),  # turned about z to have y up, and about x back
    ],
)
def test_what_playcanvas_and_niantic_write(name, turned, place, shape, colour, rest):
    given, found = known(), read_splats(FOREIGN / name).gaussians
    found = matched(found.transformed(1.0, np.diag(HALF_TURNS[turned]).astype(float), ORIGIN), given)
    assert np.abs(found.means - given.means).max() <= place
    assert np.abs(covariances(found) - covariances(given)).max() <= shape
    assert np.abs(found.opacities - given.opacities).max() <= 1 / 255
    assert np.abs(found.sh[:, 0] - given.sh[:, 0]).max() <= colour
    assert np.abs(found.sh[:, 1:] - given.sh[:, 1:]).max() <= rest


def ply(lines: list[str], body: bytes) -> bytes:
    return "\n".join(["ply", *lines, "end_header", ""]).encode() + body


NAMES = [*"xyz", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
ROW = [1, 2, 3, 0.5, -1, -2, -3, 1, 0, 0, 0]


def written(path, names, rows, kind="binary_little_endian", comments=(), types=None):
    types = types or ["float"] * len(names)
    head = [f"format {kind} 1.0", *(f"comment {comment}" for comment in comments), f"element vertex {len(rows)}"]
    head += [f"property {type_} {name}" for type_, name in zip(types, names, strict=True)]
    codes = {"float": "f4", "double": "f8", "uchar": "u1"}
    if kind == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
    else:
        order = "<" if kind == "binary_little_endian" else ">"
        dtype = [(name, order + codes[type_]) for type_, name in zip(types, names, strict=True)]
        body = np.array([tuple(row) for row in rows], dtype).tobytes()
    path.write_bytes(ply(head, body))
    return read_splats(path)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_is_read_by_name_whatever_the_order_and_the_encoding(tmp_path, kind):
    rest = [f"f_rest_{i}" for i in range(9)]
    names = [*reversed(NAMES), *rest, "f_dc_2", "f_dc_1", "f_dc_0", "something_else"]
    found = written(tmp_path / "a.ply", names, [[*reversed(ROW), *range(9), 12, 11, 10, 99]], kind).gaussians
    assert found.means.tolist() == [[1, 2, 3]] and found.log_scales.tolist() == [[-1, -2, -3]]
    assert found.quaternions.tolist() == [[1, 0, 0, 0]] and found.opacity_logits.tolist() == [0.5]
    assert found.sh[0].tolist() == [[10, 11, 12], [0, 3, 6], [1, 4, 7], [2, 5, 8]]  # red's three first, then green's


def test_ply_with_bytes_of_colour_and_the_vertical_axis_of_nerfstudio(tmp_path):
    names, types = [*NAMES, "red", "green", "blue"], ["float"] * 11 + ["uchar"] * 3
    found = written(tmp_path / "a.ply", names, [[*ROW, 255, 0, 51]], comments=["Vertical Axis: z"], types=types)
    assert np.allclose(0.5 + DC * found.gaussians.sh[0, 0], [1, 0, 0.2], atol=1e-6)
    assert found.frame.up == (0, 0, 1)


def test_ply_of_flat_gaussians_and_comments_about_antialiasing(tmp_path):
    flat = [name for name in NAMES if name != "scale_2"]
    row = [*ROW[:6], *ROW[7:]]
    found = written(tmp_path / "a.ply", flat, [row], comments=["SplatRenderMode: mip"]).gaussians
    assert found.antialiased and np.allclose(found.normals, [[0, 0, 1]])
    assert found.scales[0, 2] <= 0.01 * found.scales[0].min(initial=1, where=[True, True, False])
    assert written(tmp_path / "b.ply", flat, [row], comments=["antialiased 1"]).gaussians.antialiased
    assert not written(tmp_path / "c.ply", flat, [row], comments=["antialiased 0"]).gaussians.antialiased


def test_ply_far_from_the_origin_keeps_its_digits(tmp_path):
    names, types = NAMES, ["double"] * 3 + ["float"] * 8
    rows = [[500000.125, 5400000.25, 100 + i / 1024, *ROW[3:]] for i in range(3)]
    found = written(tmp_path / "a.ply", names, rows, types=types)
    assert np.array_equal(found.frame.to_user(found.gaussians.means), [row[:3] for row in rows])
    for name in ("b.ply", "b.glb"):
        write_splats(found, tmp_path / name)
        again = read_splats(tmp_path / name)
        assert np.allclose(again.frame.to_user(again.gaussians.means), [row[:3] for row in rows], atol=1e-6, rtol=0)


def test_rows_that_are_not_finite_are_left_out_and_counted(tmp_path):
    rows = [ROW, [np.nan, *ROW[1:]], [*ROW[:3], np.inf, *ROW[4:]], [*ROW[:7], 0, 0, 0, 0]]
    found = written(tmp_path / "a.ply", NAMES, rows)
    assert len(found.gaussians) == 2 and "2 of 4" in found.notes[0]
    assert np.isfinite(found.gaussians.opacity_logits).all()  # of infinite opacity is opaque, and stays


def test_a_ply_file_is_told_by_its_columns(tmp_path):
    written(tmp_path / "splats.ply", NAMES, [ROW])
    points = tmp_path / "points.ply"
    points.write_bytes(
        ply(["format ascii 1.0", "element vertex 1", *(f"property float {a}" for a in "xyz")], b"1 2 3\n")
    )
    assert is_splats(tmp_path / "splats.ply") and not holds_mesh(tmp_path / "splats.ply")
    assert not is_splats(points) and not is_splats(tmp_path / "none.ply") and not is_splats(tmp_path)


SPZ_ROW = [
    struct.pack("<i", 4096)[:3] + struct.pack("<i", -2048)[:3] + struct.pack("<i", 1)[:3],  # 1, -1/2, 1/4096
    bytes([51]),  # opacity 0.2
    bytes([255, 0, 128]),
    bytes([160, 144, 0]),  # log scales 0, -1, -10
]


def spz_by_hand(version: int, rotation: bytes, harmonics: bytes = b"", degree: int = 0, flags: int = 0) -> bytes:
    """One Gaussian, its bytes as the format says."""
    return (
        struct.pack("<IIIBBBB", 0x5053474E, version, 1, degree, 12, flags, 0) + b"".join(SPZ_ROW) + rotation + harmonics
    )


def test_spz_bytes_written_by_hand(tmp_path):
    def read(data: bytes) -> Gaussians:
        (tmp_path / "a.spz").write_bytes(gzip(data))
        return read_splats(tmp_path / "a.spz").gaussians

    # version 2: x = 127.5 (1 + 0.6) = 204, y and z the middle, w = 0.8
    found = read(spz_by_hand(2, bytes([204, 128, 127])))
    assert np.allclose(found.means, [[1, 0.5, -1 / 4096]])  # y down, z forward: both signs turned
    assert np.allclose(found.log_scales, [[0, -1, -10]])
    assert np.allclose(found.opacities, 0.2)
    assert np.allclose(found.sh[0, 0], np.array([0.5, -0.5, 0.5 / 255]) / 0.15, atol=1e-6)
    # half a turn about x, (0, 1, 0, 0), times (0.8, 0.6, 0, 0) is (-0.6, 0.8, 0, 0)
    assert component_errors(found.quaternions, np.array([[-0.6, 0.8, 0, 0]])).max() < 0.005
    # version 3: w largest (3), x = +511 / 511 / sqrt2, y = -0, z = 0
    code = 3 << 30 | 511 << 20 | 512 << 10 | 0
    found = read(spz_by_hand(3, struct.pack("<I", code)))
    assert component_errors(found.quaternions, np.array([[-1, 1, 0, 0]])).max() < 1e-6
    # harmonics: colour fastest, (byte - 128) / 128; half a turn about x turns the signs of -y and z, not of -x
    found = read(spz_by_hand(3, struct.pack("<I", code), bytes([128 + 8 * i for i in range(1, 10)]), degree=1, flags=1))
    expected = np.arange(1, 10).reshape(3, 3) / 16 * np.array([[-1], [-1], [1]])
    assert np.allclose(found.sh[0, 1:], expected) and found.antialiased


def test_spz_version_1_has_half_floats(tmp_path):
    body = np.array([1, -0.5, 0.25], "<f2").tobytes() + b"".join(SPZ_ROW[1:]) + bytes([128, 128, 128])
    (tmp_path / "a.spz").write_bytes(gzip(struct.pack("<IIIBBBB", 0x5053474E, 1, 1, 0, 12, 0, 0) + body))
    assert np.allclose(read_splats(tmp_path / "a.spz").gaussians.means, [[1, 0.5, -0.25]])


def test_spz_of_degree_4_is_cut(tmp_path):
    harmonics = bytes([128] * 45 + [255] * 27)
    (tmp_path / "a.spz").write_bytes(gzip(spz_by_hand(3, struct.pack("<I", 3 << 30), harmonics, degree=4)))
    found = read_splats(tmp_path / "a.spz")
    assert found.gaussians.sh.shape == (1, 16, 3) and not found.gaussians.sh[:, 1:].any()
    assert "degree 4" in found.notes[0]


def gzip(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=31)
    return compress.compress(data) + compress.flush()


def webp(pixels: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8), "RGBA").save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


def test_sog_of_the_first_version(tmp_path):
    def image(*pixel: int) -> bytes:
        return webp(np.array([[pixel]]))

    centroids = np.zeros((1, 64 * 3, 4))
    centroids[0, 3:6, :3] = [[0, 255, 51], [102, 153, 204], [255, 0, 0]]  # the second row of the palette
    files = {
        "means_l.webp": image(0, 255, 0, 255), "means_u.webp": image(0, 255, 128, 255),
        "quats.webp": image(255, 128, 128, 253), "scales.webp": image(0, 255, 51, 255),
        "sh0.webp": image(0, 255, 51, 51),
        "c.webp": webp(centroids), "l.webp": image(1, 0, 0, 255),
    }  # fmt: skip
    meta = {
        "means": {"shape": [1, 3], "mins": [-1, -1, -1], "maxs": [2, 2, 2], "files": ["means_l.webp", "means_u.webp"]},
        "quats": {"files": ["quats.webp"]},
        "scales": {"mins": [-6, -6, -6], "maxs": [-1, -1, -1], "files": ["scales.webp"]},
        "sh0": {"mins": [-1, -1, -1, -5], "maxs": [1, 1, 1, 5], "files": ["sh0.webp"]},
        "shN": {"mins": -2, "maxs": 2, "files": ["c.webp", "l.webp"]},
    }
    with zipfile.ZipFile(tmp_path / "a.sog", "w") as archive:
        archive.writestr("meta.json", json.dumps(meta))
        for name, data in files.items():
            archive.writestr(name, data)
    found = read_splats(tmp_path / "a.sog").gaussians
    middle = -1 + 3 * 128 * 256 / 65535
    assert np.allclose(found.means, [[1 - np.e, np.e**2 - 1, np.sign(middle) * np.expm1(abs(middle))]], atol=1e-4)
    assert np.allclose(found.log_scales, [[-6, -1, -5]]) and np.allclose(found.opacity_logits, -3)
    assert np.allclose(found.sh[0], [[-1, 1, -0.6], [-2, 2, -1.2], [-0.4, 0.4, 1.2], [2, -2, -2]], atol=1e-5)
    root = np.sqrt(0.5)
    assert component_errors(found.quaternions, np.array([[root, root, 0, 0]])).max() < 0.006  # x largest, w of the rest
