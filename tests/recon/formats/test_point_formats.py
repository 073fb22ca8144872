"""Clouds that other libraries wrote, or bytes put together by hand, and what is read of them."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import open3d
import pytest
from e57_by_hand import make_e57

from recon.errors import UserError
from recon.formats import FORMATS, PointOptions, SliceOptions, format_of, options_type_of, read
from recon.formats.ply_points import write_points
from recon.formats.scene_folder import read_scene_folder, write_scene_folder
from recon.inputs import PointCloud
from recon.scene import Frame, Scene

UTM = np.array([512_345.678, 5_412_345.678, 312.5])
COUNT = 500


@pytest.fixture
def cloud() -> PointCloud:
    """Points on a sphere with all that can be said of them, in float32's range."""
    rng = np.random.default_rng(7)
    normals = rng.normal(size=(COUNT, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    return PointCloud(
        (normals * np.float32(2.5)).astype(np.float64),
        normals,
        rng.integers(0, 256, (COUNT, 3)).astype(np.uint8),
        rng.integers(0, 4000, COUNT).astype(np.float32),
        rng.choice([1, 2, 6], COUNT).astype(np.uint8),
    )


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, PointOptions(**options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_open3d(cloud: PointCloud) -> open3d.geometry.PointCloud:
    assert cloud.normals is not None and cloud.colors is not None
    made = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.points))
    made.normals = open3d.utility.Vector3dVector(cloud.normals.astype(np.float64))
    made.colors = open3d.utility.Vector3dVector(cloud.colors / 255)
    return made


@pytest.mark.parametrize("ending", ["ply", "pcd"])
@pytest.mark.parametrize(("text", "compressed"), [(True, False), (False, False), (False, True)])
def test_what_open3d_writes(cloud: PointCloud, tmp_path: Path, ending: str, text: bool, compressed: bool):
    path = tmp_path / f"a.{ending}"
    assert open3d.io.write_point_cloud(str(path), as_open3d(cloud), write_ascii=text, compressed=compressed)
    back = read(path, PointOptions())
    assert np.abs(back.points - cloud.points).max() < (1e-5 if text else 1e-6)
    assert np.abs(back.normals - cloud.normals).max() < 1e-5
    assert np.abs(back.colors.astype(int) - cloud.colors).max() <= (1 if ending == "pcd" else 0)
    assert back.intensity is None and back.classification is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_properties_in_any_order_and_type(tmp_path: Path, order: str):
    row = np.dtype(
        [("red", "u1"), ("z", order + "f8"), ("scalar_Intensity", order + "f4"), ("x", order + "i2"), ("n", "u1")]
        + [("list", order + "i4", (2,)), ("y", order + "f4"), ("green", "u1"), ("blue", "u1")]
    )
    rows = np.zeros(5, row)
    rows["x"], rows["y"], rows["z"] = [-5, 1, 2, 3, 300], [0.5, 1, 2, 4, 3], np.arange(5) / 3
    rows["red"], rows["scalar_Intensity"], rows["n"] = [0, 10, 20, 30, 255], [1, 2, 3, 4, 5000], 2
    kind = {"<": "little", ">": "big"}[order]
    header = (
        f"ply\nformat binary_{kind}_endian 1.0\nobj_info any\nelement vertex 5\nproperty uchar red\nproperty double z\n"
        "property float scalar_Intensity\nproperty short x\nproperty list uchar int list\nproperty float32 y\n"
        "property uint8 green\nproperty uchar blue\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    path = tmp_path / "a.ply"
    path.write_bytes(header.encode() + rows.tobytes() + b"damaged")
    back = read(path, PointOptions())
    assert np.array_equal(back.points, np.stack([rows[axis].astype(float) for axis in "xyz"], axis=1))
    assert back.colors[:, 0].tolist() == [0, 10, 20, 30, 255] and back.intensity.tolist() == [1, 2, 3, 4, 5000]


def test_a_cloud_is_written_and_read_again_exactly(cloud: PointCloud, tmp_path: Path):
    far = PointCloud(cloud.points + UTM, cloud.normals, cloud.colors, cloud.intensity, cloud.classification, "mm")
    write_points(far, tmp_path / "far.ply")
    back = read(tmp_path / "far.ply", PointOptions())
    assert np.array_equal(back.points, far.points) and back.unit == "mm"
    assert np.abs(back.normals - far.normals).max() < 1e-6
    for name in ("colors", "intensity", "classification"):
        assert np.array_equal(getattr(back, name), getattr(far, name))
    assert np.abs(np.asarray(open3d.io.read_point_cloud(str(tmp_path / "far.ply")).points) - far.points).max() == 0
    write_points(cloud, tmp_path / "near.ply")
    assert b"property float x" in (tmp_path / "near.ply").read_bytes()
    assert b"property double x" in (tmp_path / "far.ply").read_bytes()


def test_a_scenes_points_stand_in_its_folder(cloud: PointCloud, tmp_path: Path):
    import trimesh

    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    scene = Scene(mesh=trimesh.creation.icosphere(2), points=cloud, frame=Frame(2.0, turn, UTM, "m", (0, 1, 0)))
    write_scene_folder(scene, tmp_path / "scene")
    back = read_scene_folder(tmp_path / "scene").points
    assert np.abs(back.points - (2 * cloud.points @ turn.T + UTM)).max() < 1e-9
    assert np.abs(back.normals - cloud.normals @ turn.T).max() < 1e-6
    assert np.array_equal(back.classification, cloud.classification)


def test_pcd_with_a_packed_float_colour_padding_and_holes(tmp_path: Path):
    row = np.dtype([("label", "<u4"), ("x", "<f4"), ("pad", "u1", (3,)), ("y", "<f4"), ("z", "<f8"), ("rgb", "<f4")])
    rows = np.zeros(6, row)
    rows["x"], rows["y"], rows["z"] = np.arange(6), [0, 1, 4, 9, 16, 25], np.arange(6) / 7
    rows["x"][2] = np.nan
    rows["rgb"] = np.array([0x00FF8001 + i for i in range(6)], "<u4").view("<f4")
    header = (
        "# .PCD v.7\nVERSION .7\nFIELDS label x _ y z rgb\nSIZE 4 4 1 4 8 4\nTYPE U F U F F F\nCOUNT 1 1 3 1 1 1\n"
        "WIDTH 3\nHEIGHT 2\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 6\nDATA binary\n"
    )
    (tmp_path / "a.pcd").write_bytes(header.encode() + rows.tobytes())
    back = read(tmp_path / "a.pcd", PointOptions())
    assert np.array_equal(back.points[:, 0], [0, 1, 3, 4, 5]) and np.array_equal(
        back.points[:, 2], rows["z"][[0, 1, 3, 4, 5]]
    )
    assert back.colors[0].tolist() == [255, 128, 1] and back.colors[4].tolist() == [255, 128, 6]
    assert "1 of 6 points have no finite coordinates and are left out." in back.notes


def test_lzf_copies_reach_into_themselves():
    from recon.formats.lzf import decompressed

    source = np.frombuffer(bytes([1, 65, 66, 0xE0, 1, 1, 0, 67]), np.uint8)  # AB, ten bytes from two before, C
    assert decompressed(source, 13).tobytes() == b"ABABABABABABC"
    assert decompressed(source, 12) is None and decompressed(source, 14) is None
    assert decompressed(np.frombuffer(bytes([0x20, 5]), np.uint8), 3) is None  # from before the start


def make_las(cloud: PointCloud, path: Path, version: str = "1.4", kind: int = 7, bits: int = 16) -> np.ndarray:
    header = laspy.LasHeader(point_format=kind, version=version)
    header.scales, header.offsets = [0.001] * 3, UTM.round()
    las = laspy.LasData(header)
    las.x, las.y, las.z = (cloud.points + UTM).T
    las.intensity, las.classification = cloud.intensity.astype(np.uint16), cloud.classification
    las.red, las.green, las.blue = (cloud.colors.astype(np.uint16) << (bits - 8)).T
    las.write(path)
    return np.stack([las.x, las.y, las.z], axis=1)


@pytest.mark.parametrize("ending", ["las", "laz"])
@pytest.mark.parametrize(("version", "kind", "bits"), [("1.2", 2, 16), ("1.2", 3, 8), ("1.4", 7, 16)])
def test_what_laspy_writes(cloud: PointCloud, tmp_path: Path, ending: str, version: str, kind: int, bits: int):
    path = tmp_path / f"a.{ending}"
    written = make_las(cloud, path, version, kind, bits)
    back = read(path, PointOptions())
    assert np.array_equal(back.points, written) and np.abs(written - cloud.points - UTM).max() <= 0.000501
    for name in ("colors", "intensity", "classification"):
        assert np.array_equal(getattr(back, name), getattr(cloud, name))
    assert len(read(path, PointOptions(classes="2,6")).points) == np.isin(cloud.classification, [2, 6]).sum()


@pytest.mark.parametrize(("version", "kind"), [("1.2", 3), ("1.4", 7)])
def test_withheld_points_are_left_out(cloud: PointCloud, tmp_path: Path, version: str, kind: int):
    written = make_las(cloud, tmp_path / "a.las", version, kind)
    las = laspy.read(tmp_path / "a.las")
    las.withheld = np.arange(COUNT) % 5 == 0
    las.synthetic = np.arange(COUNT) % 2 == 0
    las.write(tmp_path / "b.laz")
    back = read(tmp_path / "b.laz", PointOptions())
    assert np.array_equal(back.points, written[np.arange(COUNT) % 5 != 0])
    assert "100 points that the file marks as withheld are left out." in back.notes


@pytest.mark.parametrize(
    ("keys", "unit", "note"),
    [(9001, "m", ""), (9003, "unknown", "Its coordinates are in the unit US survey foot, and stay so.")],
)
def test_the_unit_of_a_las_files_reference_system(cloud: PointCloud, tmp_path: Path, keys: int, unit: str, note: str):
    make_las(cloud, tmp_path / "a.las")
    las = laspy.read(tmp_path / "a.las")
    directory = struct.pack("<12H", 1, 1, 0, 2, 1024, 0, 1, 1, 3076, 0, 1, keys)
    las.vlrs.append(laspy.VLR("LASF_Projection", 34735, record_data=directory))
    las.write(tmp_path / "b.las")
    back = read(tmp_path / "b.las", PointOptions())
    assert back.unit == unit and (note in back.notes if note else not back.notes)


def test_well_known_text_in_degrees_is_told(cloud: PointCloud, tmp_path: Path):
    make_las(cloud, tmp_path / "a.las")
    las = laspy.read(tmp_path / "a.las")
    text = b'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.25]],UNIT["degree",0.0174532925]]\0'
    las.vlrs.append(laspy.VLR("LASF_Projection", 2112, record_data=text))
    las.write(tmp_path / "b.laz")
    assert any("longitude and latitude" in note for note in read(tmp_path / "b.laz", PointOptions()).notes)


def test_all_scans_of_an_e57_with_their_poses(cloud: PointCloud, tmp_path: Path):
    pye57 = pytest.importorskip("pye57")
    path = tmp_path / "two.e57"
    columns = {f"cartesian{axis}": cloud.points[:, i] for i, axis in enumerate("XYZ")}
    columns |= {f"color{name}": cloud.colors[:, i] for i, name in enumerate(("Red", "Green", "Blue"))}
    columns["intensity"] = cloud.intensity
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    file = pye57.E57(str(path), mode="w")
    file.write_scan_raw(columns)
    file.write_scan_raw(columns, rotation=np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]), translation=UTM)
    file.close()
    back = read(path, PointOptions())
    assert np.abs(back.points[:COUNT] - cloud.points).max() < 1e-12
    assert np.abs(back.points[COUNT:] - (cloud.points @ turn.T + UTM)).max() < 1e-8
    assert np.array_equal(back.colors, np.tile(cloud.colors, (2, 1)))
    assert np.array_equal(back.intensity, np.tile(cloud.intensity, 2))
    assert back.unit == "m" and "2 scans are joined, each moved by its pose." in back.notes


def test_spherical_points_of_an_e57(tmp_path: Path):
    rng = np.random.default_rng(3)
    radius, azimuth, elevation = rng.uniform(1, 9, 300), rng.uniform(-3, 3, 300), rng.uniform(-1.5, 1.5, 300)
    names = [(b"cartesianX", b"sphericalRange"), (b"cartesianY", b"sphericalAzimuth")]
    spherical = np.round(np.stack([radius, azimuth, elevation], axis=1), 3)  # angles are written in thousandths
    content = make_e57(spherical, np.zeros((300, 3), np.uint8), *names, (b"cartesianZ", b"sphericalElevation"))
    (tmp_path / "a.e57").write_bytes(content)
    back = read(tmp_path / "a.e57", PointOptions()).points
    assert np.abs(np.linalg.norm(back, axis=1) - spherical[:, 0]).max() < 1e-12
    assert np.abs(np.arctan2(back[:, 1], back[:, 0]) - spherical[:, 1]).max() < 1e-12
    assert np.abs(np.arcsin(back[:, 2] / spherical[:, 0]) - spherical[:, 2]).max() < 1e-12


def test_invalid_points_of_an_e57_are_left_out(cloud: PointCloud, tmp_path: Path):
    pye57 = pytest.importorskip("pye57")
    columns = {f"cartesian{axis}": cloud.points[:, i] for i, axis in enumerate("XYZ")}
    columns["cartesianInvalidState"] = (np.arange(COUNT) < 7) * 2
    file = pye57.E57(str(tmp_path / "a.e57"), mode="w")
    file.write_scan_raw(columns)
    file.close()
    back = read(tmp_path / "a.e57", PointOptions())
    assert np.array_equal(back.points, cloud.points[7:])
    assert "7 points that the scanner marks as invalid are left out." in back.notes


@pytest.mark.parametrize("name", ["autzen_trim.laz", "autzen_color_small.las", "lone_star.laz"])
def test_real_airborne_scans_as_laspy_reads_them(real_data: Path, name: str):
    path = real_data / "scans" / "airborne" / name
    las, back = laspy.read(path), read(path, PointOptions())
    assert np.array_equal(back.points, las.xyz) and np.array_equal(back.intensity, las.intensity)
    assert np.array_equal(back.classification, las.classification)
    if "red" in las.point_format.dimension_names:
        bits = 8 if max(las.red.max(), las.green.max(), las.blue.max()) > 255 else 0
        assert np.array_equal(back.colors, np.stack([las.red, las.green, las.blue], axis=1) >> bits)


@pytest.mark.parametrize("name", ["room_scan1", "samp11-utm"])
def test_real_pcd_files_as_open3d_reads_them(real_data: Path, name: str):
    path = real_data / "scans" / "pcd" / f"{name}.pcd"
    back = read(path, PointOptions())
    assert np.array_equal(back.points, np.asarray(open3d.io.read_point_cloud(str(path)).points))


def test_a_real_e57_as_libe57_reads_it(real_data: Path):
    pye57 = pytest.importorskip("pye57")
    path = real_data / "scans" / "e57" / "pumpAVisualReferenceImage.e57"
    raw = pye57.E57(str(path)).read_scan(0, intensity=True, colors=True, ignore_missing_fields=True)
    back = read(path, PointOptions())
    assert np.abs(back.points - np.stack([raw[f"cartesian{axis}"] for axis in "XYZ"], axis=1)).max() < 1e-12
    assert np.array_equal(back.colors, np.stack([raw[f"color{name}"] for name in ("Red", "Green", "Blue")], axis=1))
    assert np.abs(back.intensity - raw["intensity"]).max() < 1e-7


@pytest.mark.parametrize("bits", [1, 3, 8, 13, 24, 57, 58, 63, 64])
def test_numbers_of_any_width_are_unpacked(bits: int):
    from recon.formats.e57_container import unpacked_bits

    rng = np.random.default_rng(bits)
    numbers = [int.from_bytes(rng.bytes(8), "little") % (1 << bits) for _ in range(37)]
    stream = sum(number << (i * bits) for i, number in enumerate(numbers)).to_bytes(37 * bits // 8 + 1, "little")
    low = -(1 << (bits - 1))
    unpacked = unpacked_bits(np.frombuffer(stream, np.uint8), bits, 37, low)
    assert unpacked.tolist() == [number + low for number in numbers]


def test_checksums_are_castagnolis():
    from recon.formats.e57_container import checksums

    assert checksums(np.frombuffer(b"123456789", np.uint8)[None]).tolist() == [0xE3069283]  # the published check value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.xyz", "1 2 3\n4 5 6.5\n7 8 9\n0 1 7\n", "x, y, z"),
        ("a.csv", "1,2,3\n4,5,6.5\n7,8,9\n0,1,7\n", "x, y, z"),
        ("a.csv", "\ufeffZ;Name;Y;X\n3,0;a;2,0;1,0\n6,5;b;5,0;4,0\n9;c;8;7\n7,0;d;1,0;0,0\n", "as the file names them"),
        ("a.txt", "//X,Y,Z\n1,2,3,\n4,5,6.5,\n7,8,9,\n0,1,7,\n", "as the file names them"),
        ("a.txt", "# made by\n# x\ty\tz\n1\t2\t3\n4\t5\t6.5\n\n7\t8\t9\n0\t1\t7\n", "as the file names them"),
        ("a.asc", "1,0 2,0 3,0\n4,0 5,0 6,5\n7,0 8,0 9,0\n0,0 1,0 7,0\n", "x, y, z"),
        ("a.csv", '"x","y","z"\n"1","2","3"\n"4","5","6.5"\n"7","8","9"\n"0","1","7"\n', "as the file names them"),
        (
            "a.pts",
            "4\n1 2 3 -900 255 0 7\n4 5 6.5 -1 1 2 3\n7 8 9 3 4 5 6\n0 1 7 0 1 2 2\n",
            "x, y, z, intensity, r, g, b",
        ),
    ],
)
def test_text_however_it_is_separated(tmp_path: Path, name: str, text: str, expected: str):
    (tmp_path / name).write_text(text, encoding="utf-8")
    back = read(tmp_path / name, PointOptions())
    assert back.points.tolist() == [[1, 2, 3], [4, 5, 6.5], [7, 8, 9], [0, 1, 7]]
    assert any(expected in note and "--columns" in note for note in back.notes)


def test_columns_of_text_are_guessed_by_their_ranges(cloud: PointCloud, tmp_path: Path):
    colors, intensity = cloud.colors, cloud.intensity[:, None] - 2000
    for columns, said in (
        ([cloud.points, colors], "x, y, z, r, g, b"),
        ([cloud.points, colors / 255], "x, y, z, r, g, b"),
        ([cloud.points, cloud.normals], "x, y, z, nx, ny, nz"),
        ([cloud.points, intensity], "x, y, z, intensity"),
        ([cloud.points, intensity, colors], "x, y, z, intensity, r, g, b"),
        ([cloud.points, colors, cloud.normals], "x, y, z, r, g, b, nx, ny, nz"),
        ([cloud.points, cloud.normals, colors, intensity], "x, y, z, nx, ny, nz, r, g, b, intensity"),
    ):
        np.savetxt(tmp_path / "a.txt", np.concatenate(columns, axis=1), "%.9g")
        back = read(tmp_path / "a.txt", PointOptions())
        assert f"Columns, guessed from their values: {said}; --columns says otherwise." in back.notes
        assert np.abs(back.points - cloud.points).max() < 1e-7
        assert ("r" not in said.split(", ")) or np.array_equal(back.colors, colors)
        assert ("nx" not in said) or np.abs(back.normals - cloud.normals).max() < 1e-6
        assert ("intensity" not in said) or np.array_equal(back.intensity, intensity[:, 0])


def test_columns_are_what_the_option_says(cloud: PointCloud, tmp_path: Path):
    rows = np.concatenate([cloud.colors, cloud.points + UTM, cloud.intensity[:, None]], axis=1)
    np.savetxt(tmp_path / "a.csv", rows, "%.12g", delimiter=", ")
    back = read(tmp_path / "a.csv", PointOptions(columns="g,r,b,x,y,z"))
    assert np.abs(back.points - UTM - cloud.points).max() < 1e-5
    assert np.array_equal(back.colors[:, [1, 0, 2]], cloud.colors) and back.intensity is None and not back.notes
    assert "needs x, y and z" in refusal(tmp_path / "a.csv", columns="x,y,skip")
    assert "at most once" in refusal(tmp_path / "a.csv", columns="x,y,z,z")
    assert "'q' is none of x, y, z" in refusal(tmp_path / "a.csv", columns="x,y,z,q")
    assert "names 8 columns" in refusal(tmp_path / "a.csv", columns="x,y,z,skip,skip,skip,skip,skip")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "none of its first lines holds three numbers"),
        ("1 2\n3 4\n", "none of its first lines holds three numbers"),
        ("ncols 4\nnrows 3\nxllcorner 0\n1 2 3 4\n", "is a grid of elevations"),
        ("1 2 3\n4 5 6\n7 8\n", "row 3 of the points has only 2 columns"),
        ("1 2 3\n4 five 6\n", "row 2, column 2 of the points holds 'five', which is no number"),
        ("1 2 3\n4 5 6\n7 8 9\n", "has 3 different points"),
        ("1 1 1\n2 2 2\n3 3 3\n4 4 4\n5 5 5\n", "lie on one line"),
        ("nan 1 1\n" * 5, "holds no point with finite coordinates"),
        ("1 2 3\n" * 50, "has 1 different points"),
    ],
)
def test_text_that_is_no_cloud(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "a.xyz").write_text(text)
    assert sentence in refusal(tmp_path / "a.xyz") and refusal(tmp_path / "a.xyz").startswith(str(tmp_path))


def test_arrays_of_numpy(cloud: PointCloud, tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(cloud.points + UTM))
    assert np.array_equal(read(path, PointOptions()).points, cloud.points + UTM)
    np.save(path, np.concatenate([cloud.points, cloud.colors], axis=1).reshape(20, 25, 6).astype(np.float32))
    back = read(path, PointOptions())
    assert np.array_equal(back.points, cloud.points) and np.array_equal(back.colors, cloud.colors)
    rows = np.zeros(COUNT, [("X", ">f8"), ("Y", ">f8"), ("Z", ">f8"), ("Classification", "u1")])
    rows["X"], rows["Y"], rows["Z"] = cloud.points.T
    rows["Classification"] = cloud.classification
    np.save(path, rows)
    back = read(path, PointOptions())
    assert np.array_equal(back.points, cloud.points) and np.array_equal(back.classification, cloud.classification)


def test_archives_of_numpy(cloud: PointCloud, tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, points=cloud.points, colors=cloud.colors / 255, normals=cloud.normals)
    back = read(path, PointOptions())
    assert np.array_equal(back.points, cloud.points) and np.array_equal(back.colors, cloud.colors)
    assert np.abs(back.normals - cloud.normals).max() < 1e-6
    x, y, z = cloud.points.T
    np.savez(path, x=x, y=y, z=z, intensity=cloud.intensity)
    assert np.array_equal(read(path, PointOptions()).intensity, cloud.intensity)
    np.savez(path, points=cloud.points, colors=cloud.colors[:-1])
    assert "different lengths: 499, 500" in refusal(path)


def test_arrays_that_need_pickle_or_promise_too_much(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}, None], object), allow_pickle=True)
    assert "not numbers" in refusal(tmp_path / "a.npy")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }".ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(1000))
    assert "its header promises 3000000000000 x 8 bytes" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((10, 2)))
    assert "its array of the shape (10, 2) is no list of points" in refusal(tmp_path / "a.npy")


def test_a_kitti_sweep(cloud: PointCloud, tmp_path: Path):
    rows = np.concatenate([cloud.points, cloud.intensity[:, None] / 4000], axis=1).astype("<f4")
    (tmp_path / "000001.bin").write_bytes(rows.tobytes())
    back = read(tmp_path / "000001.bin", PointOptions())
    assert np.array_equal(back.points, rows[:, :3]) and np.array_equal(back.intensity, rows[:, 3]) and back.unit == "m"
    (tmp_path / "a.bin").write_bytes(rows.tobytes()[:-3])
    assert "7997 bytes are no multiple of the 16" in refusal(tmp_path / "a.bin")
    (tmp_path / "a.bin").write_bytes(np.random.default_rng(0).bytes(1600))
    assert "are no distances in metres" in refusal(tmp_path / "a.bin")


def test_vertices_of_meshes(tmp_path: Path):
    import trimesh

    ball = trimesh.creation.icosphere(2)
    for ending in ("obj", "stl"):
        ball.export(tmp_path / f"a.{ending}")
        back = read(tmp_path / f"a.{ending}", PointOptions())
        assert len(back.points) == 162 and np.abs(np.linalg.norm(back.points, axis=1) - 1).max() < 1e-6
    text = "# cloud\nv 0 0 0 1 0 0.5\nvn 0 0 2\nv 1 0 0 1 1 0\nvn 0 0 1\nv 0 1 0 0 0 0\nvn 0 1 0\n"
    text += "v 0 0 1 1 1 1\nvn 1 0 0\n"
    (tmp_path / "a.obj").write_text(text)
    back = read(tmp_path / "a.obj", PointOptions())
    assert back.points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert back.colors[0].tolist() == [255, 0, 128] and back.normals[0].tolist() == [0, 0, 1]


def test_rgbd_frames_as_open3d_back_projects_them(real_data: Path, tmp_path: Path):
    folder = real_data / "posed" / "rgbd_livingroom5"
    back = read(folder, PointOptions())
    assert format_of(folder).name == "RGB-D frames" and back.unit == "m" and back.up == (0, 1, 0)
    cameras = open3d.io.read_pinhole_camera_trajectory(str(folder / "trajectory.log")).parameters
    intrinsic = open3d.io.read_pinhole_camera_intrinsic(str(folder / "camera_primesense.json"))
    whole = open3d.geometry.PointCloud()
    for i, camera in enumerate(cameras):
        depth = open3d.io.read_image(str(folder / "depth" / f"{i:05d}.png"))
        whole += open3d.geometry.PointCloud.create_from_depth_image(depth, intrinsic, camera.extrinsic, depth_trunc=100)
    distance = np.asarray(
        open3d.geometry.PointCloud(open3d.utility.Vector3dVector(back.points[::50])).compute_point_cloud_distance(whole)
    )
    assert distance.max() < 1e-6
    assert 0.9 * len(whole.points) < len(back.points) < len(whole.points)  # those at jumps in depth are left out


def test_pixels_at_jumps_in_depth_are_left_out(tmp_path: Path):
    from PIL import Image

    depth = np.full((8, 10), 1000, np.uint16)
    depth[:, 5:] = 2000
    depth[0, 0] = 0
    color = np.zeros((16, 20, 3), np.uint8)
    color[:, 10:] = (10, 200, 30)
    for name, picture in (("depth", depth), ("color", color)):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "0.png")
    camera = {"width": 10, "height": 8, "intrinsic_matrix": [100, 0, 0, 0, 50, 0, 4.5, 3.5, 1]}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    (tmp_path / "trajectory.log").write_text("0 0 1\n1 0 0 7\n0 -1 0 8\n0 0 -1 9\n0 0 0 1\n")
    back = read(tmp_path, PointOptions())
    assert len(back.points) == 8 * 8 - 1 and "16 pixels at jumps in depth" in back.notes[0]
    last = back.points[-1]  # pixel (9, 7), 2 m away: ((9 - 4.5) / 100, (7 - 3.5) / 50, 1) * 2 in the camera
    assert np.abs(last - [7 + 0.09, 8 - 0.14, 9 - 2]).max() < 1e-6
    assert back.colors[-1].tolist() == [10, 200, 30] and back.colors[0].tolist() == [0, 0, 0] and back.up == (0, 1, 0)
    (tmp_path / "trajectory.log").write_text("0 0 1\n1 0 0 7\n0 2 0 8\n0 0 1 9\n0 0 0 1\n")
    assert "a matrix in it is no rotation" in refusal(tmp_path)


def test_options_know_their_kind(tmp_path: Path, data_dir: Path):
    assert options_type_of(data_dir / "points" / "tshirt.ply") is PointOptions
    assert options_type_of(data_dir / "slices" / "brain.nrrd") is SliceOptions
    with pytest.raises(UserError, match="holds points; options for slices do not fit it"):
        read(data_dir / "points" / "tshirt.ply", SliceOptions())
    assert "the option is for text and arrays" in refusal(data_dir / "points" / "tshirt.ply", columns="x,y,z")
    assert read(data_dir / "points" / "tshirt.ply", PointOptions(unit="mm")).unit == "mm"
    assert "the unit of length is mm or m" in refusal(data_dir / "points" / "tshirt.ply", unit="yard")


def test_the_clouds_in_data(data_dir: Path):
    counts = {path.name: len(read(path, PointOptions()).points) for path in (data_dir / "points").iterdir()}
    assert counts == {
        "tshirt.ply": 20000,
        "tshirt_noisy.ply": 20000,
        "tshirt_truth.ply": 7702,
        "fish.ply": 20000,
        "hand_500.xyz": 500,
        "autzen.laz": 110000,
        "milk.pcd": 12575,
    }
    milk = open3d.io.read_point_cloud(str(data_dir / "points" / "milk.pcd"))
    back = read(data_dir / "points" / "milk.pcd", PointOptions())
    assert np.array_equal(back.points, np.asarray(milk.points))
    assert np.array_equal(back.colors, np.rint(np.asarray(milk.colors) * 255))


def test_every_format_of_points_is_met_here():
    assert {row.name for row in FORMATS if row.options is PointOptions} == {
        *("PLY points", "PCD points", "LAS or LAZ points", "E57 scans", "text points", "numpy points"),
        *("mesh vertices", "KITTI sweep", "RGB-D frames"),
    }


@pytest.mark.parametrize(("flag", "up"), [("y", (0, 1, 0)), ("-z", (0, 0, -1)), (None, (1, 0, 0))])
def test_the_upward_direction_is_the_users_before_the_files(cloud: PointCloud, tmp_path: Path, flag, up):
    write_points(replace(cloud, up=(1.0, 0.0, 0.0)), tmp_path / "a.ply")
    found = read(tmp_path / "a.ply", PointOptions(up=flag))
    assert found.up == up and np.array_equal(found.points, cloud.points)
