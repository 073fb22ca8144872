"""Up, unit and places of splats in each format, and `relief convert` between them."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from splats_by_hand import matched, sample

from app.cli import main
from app.conversion import Cleaning, convert
from recon.errors import UserError
from recon.formats.splat_frames import Y_DOWN
from recon.formats.splats import is_splats, read_splats, write_splats
from recon.gaussians.cleaning import SplatCleaning
from recon.gaussians.harmonics import basis
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene

ALL = (".ply", ".compressed.ply", ".splat", ".spz", ".sog", ".glb")
UPS = {"z": (0.0, 0.0, 1.0), "y down": Y_DOWN, "y": (0.0, 1.0, 0.0), "slanted": (0.48, 0.6, 0.64)}


def above_each_other(up) -> Gaussians:
    """Two Gaussians, the second one unit above the first and twice as large, pointing upward and red from above."""
    up = np.asarray(up)
    given = sample(2, seed=3)
    turn = np.linalg.svd(up[None])[2][::-1].copy()  # rows orthogonal, the last along up
    turn[2] = up
    turn[0] *= np.sign(np.linalg.det(turn))
    plain = replace(
        given,
        means=np.array([[0, 0, 0], [0, 0, 1]], np.float32),
        log_scales=np.array([[-4, -4, -2], [-3.5, -3.5, -1.5]], np.float32),
        quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (2, 1)),
        sh=np.where((np.arange(16) == 2)[:, None] & (np.arange(3) == 0), 0.5, 0).astype(np.float32)[None].repeat(2, 0),
    )
    return plain.transformed(1.0, turn.T, np.zeros(3))


@pytest.mark.parametrize("up", UPS.values(), ids=UPS)
@pytest.mark.parametrize("suffix", ALL)
def test_up_stays_up(tmp_path, suffix, up):
    given = above_each_other(up)
    write_splats(Scene(gaussians=given, frame=Frame(unit="mm", up=up)), tmp_path / f"a{suffix}")
    scene = read_splats(tmp_path / f"a{suffix}")
    found, up_there = matched_by_size(scene.gaussians), np.array(scene.frame.up)
    assert np.allclose(found.means[1] - found.means[0], up_there, atol=2e-3)
    longest = longest_axes(found)
    assert np.allclose(np.abs(longest @ up_there), 1, atol=1e-3)
    if suffix != ".splat":
        seen = basis(np.stack([up_there, -up_there]), 3) @ found.sh[0, :, 0]
        assert seen[0] - seen[1] > 0.4  # 0.5 * 0.49 * 2, less the steps of quantisation
    if suffix in (".ply", ".compressed.ply", ".glb"):
        assert scene.frame.unit == "mm" and np.allclose(scene.frame.up, up)
        assert np.allclose(scene.frame.to_user(found.means), given.means, atol=2e-3)
    else:
        assert scene.frame.unit == "unknown" and scene.frame.up == Y_DOWN


def matched_by_size(gaussians: Gaussians) -> Gaussians:
    return gaussians.subset(np.argsort(gaussians.log_scales.max(axis=1)))


def longest_axes(gaussians: Gaussians) -> np.ndarray:
    negated = replace(gaussians, log_scales=-gaussians.log_scales)
    return negated.normals


def glb_parts(path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    assert data[:4] == b"glTF" and struct.unpack_from("<II", data, 4) == (2, len(data))
    length, kind = struct.unpack_from("<II", data, 12)
    assert kind == 0x4E4F534A
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    kind = {5126: "<f4", 5123: "<u2"}[entry["componentType"]]
    columns = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
    values = np.frombuffer(binary, kind, entry["count"] * columns, view["byteOffset"])
    return values.reshape(-1, columns)


def test_glb_is_what_the_extension_asks_for(tmp_path):
    given = sample(20)
    write_splats(Scene(gaussians=given, frame=Frame(unit="mm", up=Y_DOWN)), tmp_path / "a.glb")
    document, binary = glb_parts(tmp_path / "a.glb")
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]
    (primitive,) = document["meshes"][0]["primitives"]
    extension = primitive["extensions"]["KHR_gaussian_splatting"]
    assert primitive["mode"] == 0
    assert extension == {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    values = {name: accessor(document, binary, index) for name, index in primitive["attributes"].items()}
    prefix = "KHR_gaussian_splatting:"
    harmonics = [f"{prefix}SH_DEGREE_{n}_COEF_{m}" for n in range(4) for m in range(2 * n + 1)]
    assert set(values) == {"POSITION", "COLOR_0", *(prefix + n for n in ("ROTATION", "SCALE", "OPACITY")), *harmonics}
    assert np.allclose(values[prefix + "SCALE"], np.exp(given.log_scales))
    assert np.allclose(values[prefix + "OPACITY"][:, 0], given.opacities)
    assert np.allclose(np.linalg.norm(values[prefix + "ROTATION"], axis=1), 1)
    assert np.allclose(values[prefix + "ROTATION"][:, 3], given.rotations[:, 0])  # x, y, z, w
    assert all(np.array_equal(values[name], given.sh[:, i]) for i, name in enumerate(harmonics))
    bounds = document["accessors"][primitive["attributes"]["POSITION"]]
    assert np.allclose(bounds["min"], given.means.min(axis=0)) and np.allclose(bounds["max"], given.means.max(axis=0))
    root = document["nodes"][document["scenes"][0]["nodes"][0]]
    assert root["scale"] == [1e-3] * 3
    x, y, z, w = root["rotation"]
    assert np.allclose(np.abs([x, y, z, w]), [1, 0, 0, 0], atol=1e-9)  # half a turn about x: -y to +y


def rewritten(path, change) -> None:
    """A GLB file with its JSON changed."""
    document, _ = glb_parts(path)
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + data[20 + length :]
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)


def test_a_foreign_glb_is_in_metres_with_its_up_downward_y_and_its_nodes_followed(tmp_path):
    path, given = tmp_path / "a.glb", sample(20)
    write_splats(Scene(gaussians=given, frame=Frame(up=Y_DOWN)), path)

    def foreign(document):
        document["nodes"] = [
            {"children": [1], "scale": [2, 2, 2]},
            {"mesh": 0, "translation": [1, 0, 0], "rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)]},
        ]

    rewritten(path, foreign)
    scene = read_splats(path)
    x, y, z = given.means.T  # a quarter turn about z, moved, doubled; then y and z turned
    expected = 2 * np.stack([1 - y, -x, -z], axis=1)
    assert scene.frame.unit == "m" and scene.frame.up == Y_DOWN
    assert np.allclose(scene.frame.to_user(scene.gaussians.means), expected, atol=1e-5)
    assert np.allclose(scene.gaussians.log_scales, given.log_scales + np.log(2), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["nodes"][1].update(scale=[1, 1, 3]), "unevenly"),
        (lambda d: d["nodes"][1].update(scale=[-1, 1, 1]), "mirrors"),
        (lambda d: splatting(d).update(kernel="customShape"), "customShape"),
        (lambda d: splatting(d).update(extensions={"KHR_gaussian_splatting_compression_spz_2": {}}), "spz_2"),
        (lambda d: d.update(extensionsRequired=["EXT_meshopt_compression"]), "EXT_meshopt_compression"),
        (lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("KHR_gaussian_splatting:SCALE"), "SCALE"),
        (lambda d: d["meshes"][0]["primitives"][0].pop("extensions"), "no Gaussians"),
        (lambda d: d["accessors"][0].update(count=2**30), "beyond the end"),
    ],
)
def test_what_cannot_be_read_of_a_glb_is_said(tmp_path, change, words):
    path = tmp_path / "a.glb"
    write_splats(Scene(gaussians=sample(20)), path)
    rewritten(path, change)
    with pytest.raises(UserError, match=words):
        read_splats(path)


def splatting(document: dict) -> dict:
    return document["meshes"][0]["primitives"][0]["extensions"]["KHR_gaussian_splatting"]


def test_scales_below_zero_are_logarithms_as_in_a_draft_of_the_extension(tmp_path):
    path, given = tmp_path / "a.glb", sample(20)
    write_splats(Scene(gaussians=given), path)
    document, _ = glb_parts(path)
    index = document["meshes"][0]["primitives"][0]["attributes"]["KHR_gaussian_splatting:SCALE"]
    view = document["bufferViews"][document["accessors"][index]["bufferView"]]
    data = bytearray(path.read_bytes())
    start = len(data) - document["buffers"][0]["byteLength"] + view["byteOffset"]
    data[start : start + view["byteLength"]] = given.log_scales.tobytes()
    path.write_bytes(data)
    found = read_splats(path)
    assert np.array_equal(found.gaussians.log_scales, given.log_scales) and "logarithms" in found.notes[0]


@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("source", ALL)
def test_convert_between_all_formats(tmp_path, source, target):
    given = sample(100)
    write_splats(Scene(gaussians=given, frame=Frame(up=Y_DOWN)), tmp_path / f"a{source}")
    notes = convert(tmp_path / f"a{source}", tmp_path / f"b{target}")
    scene = read_splats(tmp_path / f"b{target}")
    found = matched(scene.gaussians, given)
    assert scene.frame.up == Y_DOWN
    assert np.abs(found.means - given.means).max() < 0.02
    assert np.abs(found.opacities - given.opacities).max() < 1 / 255 + 1e-6
    assert any("harmonics" in note for note in notes) == (target == ".splat" and source != ".splat")


def test_convert_cleans_in_the_users_coordinates(tmp_path):
    given = sample(300)
    write_splats(Scene(gaussians=given, frame=Frame(unit="m", up=Y_DOWN)), tmp_path / "a.ply")
    cleaning = SplatCleaning(crop="-3,-3,-3,0,3,3", min_opacity=0.5, max_size=0.3)
    notes = convert(tmp_path / "a.ply", tmp_path / "b.ply", splat_cleaning=cleaning)
    keep = (given.means[:, 0] <= 0) & (given.opacities >= 0.5) & (given.scales.max(axis=1) <= 0.3)
    assert np.array_equal(read_splats(tmp_path / "b.ply").gaussians.means, given.means[keep])
    assert f"{(~keep).sum()} of 300" in notes[0]
    with pytest.raises(UserError, match="leaves none of the 300"):
        convert(tmp_path / "a.ply", tmp_path / "c.ply", splat_cleaning=SplatCleaning(crop="10,10,10,11,11,11"))
    assert not (tmp_path / "c.ply").exists()


def test_convert_writes_the_version_of_spz_that_is_asked_for(tmp_path):
    write_splats(Scene(gaussians=sample(10)), tmp_path / "a.ply")
    convert(tmp_path / "a.ply", tmp_path / "b.spz", spz_version=4)
    assert (tmp_path / "b.spz").read_bytes()[:8] == struct.pack("<II", 0x5053474E, 4)
    convert(tmp_path / "a.ply", tmp_path / "b.spz")
    assert (tmp_path / "b.spz").read_bytes()[:2] == b"\x1f\x8b"
    with pytest.raises(UserError, match="--spz-version"):
        convert(tmp_path / "a.ply", tmp_path / "b.glb", spz_version=4)


def test_convert_says_what_is_lost(tmp_path):
    given = replace(sample(10), antialiased=True, means=sample(10).means + np.float32(1e6))
    write_splats(Scene(gaussians=given, frame=Frame(unit="mm", up=(0, 0, 1))), tmp_path / "a.ply")
    assert convert(tmp_path / "a.ply", tmp_path / "a2.ply") == []
    notes = " ".join(convert(tmp_path / "a.ply", tmp_path / "b.splat"))
    for word in ("harmonics", "antialiased", "turned", "mm", "float32"):
        assert word in notes
    assert [note for note in convert(tmp_path / "a.ply", tmp_path / "b.glb") if "antialiased" not in note] == []


def test_options_are_for_their_kind(tmp_path):
    write_splats(Scene(gaussians=sample(10)), tmp_path / "a.ply")
    with pytest.raises(UserError, match="--faces are for meshes"):
        convert(tmp_path / "a.ply", tmp_path / "b.spz", Cleaning(faces=10))
    with pytest.raises(UserError, match="no splat format"):
        convert(tmp_path / "a.ply", tmp_path / "b.obj")
    with pytest.raises(UserError, match="no such file"):
        convert(tmp_path / "none.spz", tmp_path / "b.ply")
    mesh = tmp_path / "m.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert not is_splats(mesh)
    with pytest.raises(UserError, match="for splats"):
        convert(mesh, tmp_path / "b.ply", splat_cleaning=SplatCleaning(min_opacity=0.5))


def test_the_command_takes_the_flags(tmp_path, monkeypatch, capsys):
    def relief(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["relief", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    given, source = sample(300), tmp_path / "a.ply"
    write_splats(Scene(gaussians=given, frame=Frame(up=Y_DOWN)), source)
    status, said = relief("convert", source, tmp_path / "b.spz", "--crop", "-9,-9,-9,0,9,9", "--min-opacity", 0.5)
    keep = (given.means[:, 0] <= 0) & (given.opacities >= 0.5)
    assert status == 0 and f"{(~keep).sum()} of 300" in said
    assert len(read_splats(tmp_path / "b.spz").gaussians) == keep.sum()
    for flags in (("--min-opacity", 1.5), ("--max-size", 0), ("--drop-floaters", -1), ("--crop", "1,2")):
        status, said = relief("convert", source, tmp_path / "c.spz", *flags)
        assert status == 2 and flags[0] in said and not (tmp_path / "c.spz").exists()
