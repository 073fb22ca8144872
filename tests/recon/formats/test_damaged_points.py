"""Clouds in files that are cut short, that lie, or whose bytes were changed: one sentence, and memory within bounds."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import laspy
import numpy as np
import open3d
import pytest
from e57_by_hand import make_e57, sealed, unsealed
from PIL import Image

from recon.errors import UserError
from recon.formats import PointOptions, read
from recon.formats.ply_points import write_points
from recon.inputs import PointCloud

NAMES = ("a.ply", "text.ply", "a.pcd", "packed.pcd", "text.pcd", "a.las", "a.laz", "new.laz", "a.e57", "a.csv")
NAMES += ("a.npy", "a.npz", "a.bin", "a.obj", "a.stl")
BLOCKED_MEMORY = 3 << 30


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One sound file of each format, small."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(1)
    points = rng.uniform(-5, 5, (300, 3)).astype(np.float32).astype(np.float64)
    colors = rng.integers(0, 256, (300, 3)).astype(np.uint8)
    write_points(PointCloud(points, colors=colors), folder / "a.ply")
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.colors = open3d.utility.Vector3dVector(colors / 255)
    for name, text, packed in (("text.ply", 1, 0), ("a.pcd", 0, 0), ("packed.pcd", 0, 1), ("text.pcd", 1, 0)):
        open3d.io.write_point_cloud(folder / name, cloud, write_ascii=bool(text), compressed=bool(packed))
    for name, kind in (("a.las", 3), ("a.laz", 3), ("new.laz", 7)):
        las = laspy.LasData(laspy.LasHeader(point_format=kind, version="1.4" if kind > 5 else "1.2"))
        las.header.scales = [0.001] * 3
        las.x, las.y, las.z = points.T
        las.red, las.green, las.blue = colors.T.astype(np.uint16) * 256
        las.write(folder / name)
    np.savetxt(folder / "a.csv", np.concatenate([points, colors], axis=1), "%g", ",", header="x,y,z,r,g,b")
    np.save(folder / "a.npy", points)
    np.savez_compressed(folder / "a.npz", points=points, colors=colors)
    (folder / "a.bin").write_bytes(np.concatenate([points, points[:, :1]], axis=1).astype("<f4").tobytes())
    (folder / "a.obj").write_text("".join(f"v {x} {y} {z}\n" for x, y, z in points))
    import trimesh

    trimesh.creation.icosphere(1).export(folder / "a.stl")
    (folder / "a.e57").write_bytes(make_e57(points, colors))
    return {name: (folder / name).read_bytes() for name in NAMES}


def read_or_refused(path: Path, content: bytes) -> str | None:
    """Reads the bytes: None where that works, else the sentence, which must be one."""
    path.write_bytes(content)
    try:
        cloud = read(path, PointOptions())
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error) and len(str(error)) < 600
        return str(error)
    assert cloud.points.dtype == np.float64 and np.isfinite(cloud.points).all()
    return None


def truncated(content: bytes) -> Iterator[bytes]:
    for end in sorted({*range(0, 400, 40), *np.linspace(0, len(content) - 1, 15).astype(int).tolist()}):
        yield content[:end]


def damaged(content: bytes, rng: random.Random) -> Iterator[bytes]:
    """Bytes changed, taken out and put in, half of them near the start."""
    for trial in range(48):
        broken = bytearray(content)
        start = rng.randrange(len(broken) if trial % 2 else min(500, len(broken)))
        if trial % 3 == 0:
            broken[start : start + 3] = rng.choice([b"\xff\xff\xff", bytes(3), rng.randbytes(3)])
        elif trial % 3 == 1:
            del broken[start : start + rng.randrange(1, 50)]
        else:
            broken[start:start] = rng.randbytes(rng.randrange(1, 20))
        yield bytes(broken)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_or_refused_in_one_sentence(whole: dict[str, bytes], tmp_path: Path, name: str):
    rng = random.Random(0)
    path, content = tmp_path / name, whole[name]
    assert read_or_refused(path, content) is None
    broken = [*truncated(content), *damaged(content, rng)]
    if name == "a.e57":
        pages = len(content) // 1024 * 1020
        broken += [sealed(one.ljust(pages, b"\0")[:pages]) for one in damaged(unsealed(content), rng)]
    broken = broken[::4] if name.endswith("laz") else broken  # each of them starts a process
    assert sum(read_or_refused(path, one) is not None for one in broken) > 10


@pytest.mark.filterwarnings("error")
def test_damaged_frames_are_read_or_refused_in_one_sentence(tmp_path: Path):
    for name, shape, kind in (("depth", (16, 20), np.uint16), ("color", (16, 20, 3), np.uint8)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.random.default_rng(0).integers(200, 206, shape).astype(kind)).save(tmp_path / name / "0.png")
    (tmp_path / "camera.json").write_text('{"width": 20, "height": 16, "intrinsic_matrix": [9,0,0,0,9,0,9.5,7.5,1]}')
    (tmp_path / "trajectory.log").write_text("0 0 1\n1 0 0 7\n0 1 0 8\n0 0 1 9\n0 0 0 1\n")
    assert len(read(tmp_path, PointOptions()).points) == 320
    rng = random.Random(0)
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        content, refused = file.read_bytes(), 0
        for broken in (*truncated(content), *damaged(content, rng)):
            file.write_bytes(broken)
            try:
                assert np.isfinite(read(tmp_path, PointOptions()).points).all()
            except UserError as error:
                assert str(error).startswith(str(tmp_path)) and "\n" not in str(error)
                refused += 1
        file.write_bytes(content)
        assert refused > 10


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.ply", b"vertex 300", b"vertex 1000000000000"),
        ("text.ply", b"vertex 300", b"vertex 1000000000000"),
        ("a.pcd", b"POINTS 300", b"POINTS 1000000000000"),
        ("packed.pcd", b"POINTS 300", b"POINTS 1000000000000"),
        ("text.pcd", b"POINTS 300", b"POINTS 1000000000000"),
    ],
)
def test_counts_that_lie(whole: dict[str, bytes], tmp_path: Path, name: str, old: bytes, new: bytes):
    assert old in whole[name]
    assert "promises" in (read_or_refused(tmp_path / name, whole[name].replace(old, new)) or "")


def test_a_las_header_that_lies(whole: dict[str, bytes], tmp_path: Path):
    for name, place, kind in (("a.las", 107, "<I"), ("a.laz", 107, "<I"), ("new.laz", 247, "<Q")):
        lies = bytearray(whole[name])
        struct.pack_into(kind, lies, place, 4_000_000_000)
        assert "promises 4000000000 points" in (read_or_refused(tmp_path / name, bytes(lies)) or "")
        lies = bytearray(whole[name])
        struct.pack_into("<I", lies, 100, 0xFFFFFFFF)
        assert "4294967295 records" in (read_or_refused(tmp_path / name, bytes(lies)) or "")


def test_an_e57_that_lies(tmp_path: Path):
    points, colors = np.zeros((300, 3)), np.zeros((300, 3), np.uint8)
    points[:, :2] = np.random.default_rng(0).uniform(size=(300, 2))
    for change, sentence in (
        ((b'"300"', b'"1000000000000"'), "more than it can hold"),
        ((b'"300"', b'"301"'), "it promises 301 points"),
        ((b'"300"', b'"-1"'), "more than it can hold"),
        ((b'fileOffset="48"', b'fileOffset="4800000"'), "cannot be understood"),
        ((b'type="Float"', b'type="String"'), "cartesianX is of type String"),
        ((b'"57535"', b'"99999999999999999999"'), "cartesianY runs from"),
        ((b"<e57Root", b'<!DOCTYPE a [<!ENTITY b "c">]><e57Root'), "declares a document type"),
    ):
        assert sentence in (read_or_refused(tmp_path / "a.e57", make_e57(points, colors, change)) or "")
    whole = bytearray(make_e57(points, colors))
    assert read_or_refused(tmp_path / "a.e57", bytes(whole)) is None
    whole[2000] ^= 1
    assert "page 1 of its" in (read_or_refused(tmp_path / "a.e57", bytes(whole)) or "")


def test_an_archive_that_expands_beyond_measure(tmp_path: Path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3000000000, 3), }".ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(1 << 20)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", array)
    assert "promises 9000000000 x 8 bytes" in (read_or_refused(tmp_path / "a.npz", stream.getvalue()) or "")
    directory = stream.getvalue().rindex(b"PK\x01\x02")
    lies = bytearray(stream.getvalue())
    struct.pack_into("<I", lies, directory + 24, 0xFFFFFFF0)  # the size that the archive's directory gives
    assert "promises too much" in (read_or_refused(tmp_path / "a.npz", bytes(lies)) or "")


def test_compressed_points_of_pcd_that_expand_beyond_measure(whole: dict[str, bytes], tmp_path: Path):
    head, _, _ = whole["packed.pcd"].partition(b"DATA")
    head = head.replace(b"300", b"100000000")
    bomb = head + b"DATA binary_compressed\n" + struct.pack("<II", 1000, 1_600_000_000) + bytes(1000)
    assert "1000 compressed bytes cannot hold" in (read_or_refused(tmp_path / "a.pcd", bomb) or "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new.laz", "a.laz"])
def test_damaged_laz_takes_no_memory(whole: dict[str, bytes], tmp_path: Path, name: str):
    """Sizes within the compressed points that lie are met by a process that may not take more than 3 GB."""
    code = (
        "import resource, sys, random\nfrom pathlib import Path\nfrom recon.formats import PointOptions, read\n"
        "from recon.errors import UserError\nimport laspy, scipy.spatial\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({BLOCKED_MEMORY}, {BLOCKED_MEMORY}))\n"
        "path, content = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()\nrng = random.Random(1)\n"
        "start = int.from_bytes(content[96:100], 'little')\nrefused = 0\n"
        "for trial in range(24):\n"
        "    broken = bytearray(content)\n"
        "    at = start + (rng.randrange(120) if trial % 3 else rng.randrange(len(broken) - start - 4))\n"
        "    broken[at:at + 4] = rng.choice([b'\\xff' * 4, rng.randbytes(4), b'\\xff\\xff\\xff\\x0f'])\n"
        "    path.write_bytes(broken)\n"
        "    try: read(path, PointOptions())\n"
        "    except UserError as error: refused += 1\n"
        "status = Path('/proc/self/status').read_text().split()\n"
        "print(refused, status[status.index('VmHWM:') + 1])\n"  # getrusage would count the parent's memory as well
    )
    path = tmp_path / name
    path.write_bytes(whole[name])
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    refused, kilobytes = map(int, ended.stdout.split())
    assert refused > 5 and kilobytes < 1_000_000
