"""Splat files that are cut short, lie about their counts, or are made to exhaust memory: one sentence each."""

import io
import json
import re
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from splats_by_hand import sample

from recon.errors import UserError
from recon.formats import splat_spz
from recon.formats.splats import is_splats, read_splats, write_splats
from recon.scene import Scene

ALL = (".ply", ".compressed.ply", ".splat", ".spz", "4.spz", ".sog", ".glb")
MEGABYTE = 1 << 20
MAGIC = 0x5053474E


@cache
def whole(suffix: str) -> bytes:
    """A sound file of this ending; 4.spz is version 4 of SPZ."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        if suffix == "4.spz":
            splat_spz.write(Scene(gaussians=sample(300)), path, version=4)
        else:
            write_splats(Scene(gaussians=sample(300)), path)
        return path.read_bytes()


def refused(path, data: bytes, words: str = "", megabytes: float = 30) -> str:
    """The sentence that the file is refused with; what it took of memory is bounded."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=words) as caught:
            read_splats(path)
        assert tracemalloc.get_traced_memory()[1] < megabytes * MEGABYTE
    finally:
        tracemalloc.stop()
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("suffix", ALL)
def test_cut_short_anywhere(tmp_path, suffix):
    data = whole(suffix)
    ends = [0, 1, 3, 15, 16, 31, 33, len(data) // 2 + 1, len(data) - 7, len(data) - 1]
    for end in ends:
        refused(tmp_path / f"a{suffix}", data[:end])


@pytest.mark.parametrize("suffix", ALL)
def test_changed_bytes_give_a_sentence_or_gaussians_that_are_finite(tmp_path, suffix):
    rng, data = np.random.default_rng(0), np.frombuffer(whole(suffix), np.uint8)
    path = tmp_path / f"a{suffix}"
    for trial in range(150):
        changed = data.copy()
        region = len(data) if trial % 2 else min(400, len(data))  # headers get half of the trials
        where = rng.integers(0, region, rng.integers(1, 6))
        changed[where] = rng.integers(0, 256, len(where))
        path.write_bytes(changed.tobytes())
        is_splats(path)
        try:
            found = read_splats(path).gaussians
        except UserError as problem:
            assert str(problem).startswith(str(path))
            continue
        assert np.isfinite(found.means).all() and np.isfinite(found.sh).all()
        assert np.isfinite(found.scales).all() and np.isfinite(found.rotations).all()


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply"])
def test_ply_that_lies_about_its_count(tmp_path, suffix):
    data = re.sub(rb"element vertex \d+", b"element vertex 4000000000", whole(suffix))
    refused(tmp_path / f"a{suffix}", data, "header promises")


def test_compressed_ply_with_too_few_chunks(tmp_path):
    data = re.sub(rb"element chunk \d+", b"element chunk 1", whole(".compressed.ply"))
    refused(tmp_path / "a.compressed.ply", data, "1 chunks for 300")


def test_ply_with_half_a_degree_of_harmonics_or_without_a_needed_column(tmp_path):
    data = whole(".ply").replace(b"property float f_rest_44\n", b"property float other\n")
    refused(tmp_path / "a.ply", data, "44 columns f_rest")
    refused(tmp_path / "a.ply", whole(".ply").replace(b"rot_3", b"rat_3"), "no rot_3")


def gzip(data: bytes) -> bytes:
    compress = zlib.compressobj(9, wbits=31)
    return compress.compress(data) + compress.flush()


def header(version: int, count: int, degree: int = 3, bits: int = 12, streams: int = 0) -> bytes:
    return struct.pack("<IIIBBBB", MAGIC, version, count, degree, bits, 0, streams)


def test_spz_that_lies_about_its_count(tmp_path):
    path = tmp_path / "a.spz"
    refused(path, gzip(header(3, 0)), "no Gaussian")
    refused(path, header(4, 0) + struct.pack("<I12x", 32), "no Gaussian")
    refused(path, gzip(header(3, 4_000_000_000)), "promises 4000000000")
    refused(path, gzip(header(3, 1000) + bytes(100)), "promises")
    refused(path, header(4, 4_000_000_000, streams=6) + bytes(16), "promises 4000000000")


@pytest.mark.parametrize(
    "head", [header(9, 1), header(3, 1, degree=9), header(3, 1, bits=60), struct.pack("<4I", 1, 3, 1, 0)]
)
def test_spz_with_an_impossible_header(tmp_path, head):
    refused(tmp_path / "a.spz", gzip(head + bytes(100)))


def test_spz_bombs_expand_no_further_than_the_header_asks(tmp_path):
    import zstandard

    path = tmp_path / "a.spz"
    bomb = gzip(header(3, 10) + bytes(64 * MEGABYTE))  # 64 kB; ten Gaussians are read, the rest is left
    path.write_bytes(bomb)
    tracemalloc.start()
    assert len(read_splats(path).gaussians) == 10
    assert tracemalloc.get_traced_memory()[1] < 5 * MEGABYTE
    tracemalloc.stop()
    frame = zstandard.ZstdCompressor(level=3).compress(bytes(64 * MEGABYTE))
    sizes = [9, 1, 3, 3, 4]
    table = b"".join(struct.pack("<QQ", len(frame), 10 * size) for size in sizes)
    head = header(4, 10, degree=0, streams=5) + struct.pack("<I12x", 32)
    path.write_bytes(head + table + frame * 5)
    tracemalloc.start()
    assert len(read_splats(path).gaussians) == 10
    assert tracemalloc.get_traced_memory()[1] < 20 * MEGABYTE
    tracemalloc.stop()


def test_spz_streams_that_are_not_what_the_table_says(tmp_path):
    data = bytearray(whole("4.spz"))
    for at, value in ((32, 2**40), (40, 2**40), (40, 1), (16, 2**31)):
        changed = bytearray(data)
        changed[at : at + (8 if at > 16 else 4)] = value.to_bytes(8 if at > 16 else 4, "little")
        refused(tmp_path / "a.spz", bytes(changed))
    damaged = bytearray(data)
    damaged[32 + 6 * 16] ^= 0xFF  # the magic of the first Zstandard frame
    refused(tmp_path / "a.spz", bytes(damaged), "Zstandard")


def sog(change=None, members=None) -> bytes:
    """The sample as a SOG file, its meta data changed, its members replaced."""
    with zipfile.ZipFile(io.BytesIO(whole(".sog"))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(files["meta.json"])
    if change:
        change(meta)
    files["meta.json"] = json.dumps(meta).encode()
    files |= members or {}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            if data is not None:
                archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(count=4_000_000_000), "4000000000"),
        (lambda m: m.update(count=100_000), "pixels"),
        (lambda m: m.update(count=-1), ""),
        (lambda m: m.update(count=0), "no Gaussian"),
        (lambda m: m.update(count="many"), "ValueError"),
        (lambda m: m.update(count=float("inf")), "OverflowError"),
        (lambda m: m.update(version=3), "version 3"),
        (lambda m: m.pop("quats"), "quats"),
        (lambda m: m["scales"].update(codebook=[1.0]), "ValueError"),
        (lambda m: m["scales"].update(codebook=["x"] * 256), "ValueError"),
        (lambda m: m["means"].update(mins=[0.0]), ""),
        (lambda m: m["means"].update(files=["../../etc/passwd", "means_u.webp"]), "passwd"),
        (lambda m: m["shN"].update(bands=2), "pixels wide"),
    ],
)
def test_sog_with_impossible_meta_data(tmp_path, change, words):
    refused(tmp_path / "a.sog", sog(change), words)


def png(width: int, height: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def test_sog_with_bombs_in_it(tmp_path):
    path = tmp_path / "a.sog"
    refused(path, sog(members={"means_l.webp": bytes(64 * MEGABYTE)}), "expands to more")
    refused(path, sog(members={"meta.json": b" " * (64 * MEGABYTE)}), "expands to more")
    refused(path, sog(members={"means_l.webp": png(4000, 4000)}), "4000 x 4000")
    refused(path, sog(members={"shN_centroids.webp": png(960, 9000)}), "960 x 9000")
    refused(path, sog(members={"means_l.webp": b"no image"}), "means_l.webp is damaged")


def test_sog_images_are_those_of_the_web(tmp_path):
    """Not PostScript, say, for which Pillow would start a program."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 16\n%%EndComments\nshowpage\n"
    refused(tmp_path / "a.sog", sog(members={"means_l.webp": postscript}), "means_l.webp is damaged or no image")


def test_glb_with_attributes_of_different_lengths(tmp_path):
    data = whole(".glb")
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    (primitive,) = document["meshes"][0]["primitives"]
    accessors, attributes = document["accessors"], primitive["attributes"]
    for name in ("SCALE", "OPACITY", "SH_DEGREE_1_COEF_2"):
        index = attributes[f"KHR_gaussian_splatting:{name}"]
        accessors[index]["count"] -= 1
        text = json.dumps(document).encode()
        accessors[index]["count"] += 1
        text += b" " * (-len(text) % 4)
        body = struct.pack("<I4s", len(text), b"JSON") + text + data[20 + length :]
        refused(tmp_path / "a.glb", struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body, f"{name} has the shape")


def test_sog_in_a_folder_names_files_of_that_folder_only(tmp_path):
    write_splats(Scene(gaussians=sample(20)), tmp_path / "scene" / "meta.json")
    meta = tmp_path / "scene" / "meta.json"
    (tmp_path / "scene" / "quats.webp").rename(tmp_path / "quats.webp")
    with pytest.raises(UserError, match="quats.webp is missing"):
        read_splats(meta)
    meta.write_text(meta.read_text().replace('"quats.webp"', '"../quats.webp"'))
    with pytest.raises(UserError, match="not in its folder"):
        read_splats(meta)
    meta.write_bytes(b" " * (2 * MEGABYTE))
    with pytest.raises(UserError):
        read_splats(meta)


def test_palette_rows_that_do_not_exist_are_grey(tmp_path):
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGBA", (20, 16), (255, 255, 0, 255)).save(stream, "WEBP", lossless=True)
    (tmp_path / "a.sog").write_bytes(sog(members={"shN_labels.webp": stream.getvalue()}))
    assert not read_splats(tmp_path / "a.sog").gaussians.sh[:, 1:].any()


def test_dot_splat_of_half_a_row(tmp_path):
    refused(tmp_path / "a.splat", bytes(48), "48 bytes")


@pytest.mark.parametrize("suffix", ALL)
def test_empty_files(tmp_path, suffix):
    refused(tmp_path / f"a{suffix}", b"")
