"""SOG, PlayCanvas' format for the web: the Gaussians' attributes as pixels of lossless WebP images, in a ZIP file.

    meta.json               version 2, count, and for each attribute its files and what their bytes stand for
    means_l, means_u        low and high byte of 16 bits between mins and maxs of sign(x) ln(1 + |x|)
    quats                   three components as 255 (sqrt2 q + 1) / 2; alpha 252 + which of w, x, y, z is left out
    scales                  indices into a codebook of 256 log scales
    sh0                     indices into a codebook of 256 DC coefficients; alpha is the opacity
    shN_labels              for each Gaussian the number of its row in a palette, low byte in red, high byte in green
    shN_centroids           the palette, 64 rows of it in a row of pixels, one pixel a coefficient: indices into a
                            codebook of 256 values

Pixel i of each image but the last is Gaussian i. Files of the first version have no number of a version, and mins and
maxs in place of codebooks. A folder with the same files is read as well. -y is up.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, UInt8

from recon.errors import UserError
from recon.files import replacing
from recon.formats.splat_codes import LOGITS, SQRT2, from_smallest_three, smallest_three, to_bytes
from recon.formats.splat_frames import Y_DOWN, check_memory, turned
from recon.formats.splat_palette import codebook, palette
from recon.formats.splats import SOG_META as META
from recon.formats.untrusted import plain
from recon.gaussians.model import Gaussians
from recon.morton import morton_order
from recon.scene import Frame, Scene

LARGEST_META = 1 << 20
LARGEST_PALETTE = 1 << 16
PALETTE_COLUMNS = 64
SMALLEST_PALETTE = 1024
SMALLEST_SHARE = 4
"""Gaussians to a row of the palette at least, on average."""
IMAGES = ("WEBP", "PNG")
BANDS = {3: 1, 8: 2, 15: 3}
IDENTITY = np.array([1, 0, 0, 0], np.float32)
DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, zipfile.BadZipFile)
"""What meta data of another form than expected lead to."""

Load = Callable[[str], bytes]


def read(path: Path) -> Scene:
    """The Gaussians of a SOG file, version 1 or 2, or of a folder of its files (or its meta.json).

    Raises:
        UserError: a file is missing or damaged, an image has fewer pixels than there are Gaussians or far more.
    """
    try:
        if path.suffix.lower() == ".sog" and path.is_file():
            with zipfile.ZipFile(path) as archive:
                return _decoded(path, lambda name: _member(path, archive, name))
        folder = path.parent if path.name == META else path
        return _decoded(path, lambda name: _beside(path, folder, name))
    except DAMAGE as problem:
        raise UserError(f"{path}: is no valid SOG file ({type(problem).__name__}: {plain(problem)})") from problem


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's Gaussians, with -y up, in the user's unit: into one file, or where the path is a meta.json,
    into files beside it.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    gaussians = turned(scene, Y_DOWN)
    gaussians = gaussians.subset(morton_order(gaussians.means))
    meta: dict[str, Any] = {"version": 2, "asset": {"generator": "Relief"}, "count": len(gaussians)}
    if gaussians.antialiased:
        meta["antialias"] = True
    files = {f"{name}.webp": _webp(pixels) for name, pixels in _encoded(gaussians, meta).items()}
    files[META] = json.dumps(meta).encode()
    if path.name == META:
        for name, data in files.items():
            with replacing(path.with_name(name)) as partial:
                partial.write_bytes(data)
        return
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _encoded(gaussians: Gaussians, meta: dict[str, Any]) -> dict[str, UInt8[np.ndarray, "h w 4"]]:
    """The images by name; what their bytes stand for is added to the meta data."""
    logs = np.sign(gaussians.means) * np.log1p(np.abs(gaussians.means).astype(np.float64))
    low, high = logs.min(axis=0), logs.max(axis=0)
    steps = np.rint((logs - low) / np.where(high > low, high - low, 1) * 65535).astype(np.uint16)
    meta["means"] = {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]}
    largest, others = smallest_three(gaussians.quaternions)
    meta["quats"] = {"files": ["quats.webp"]}
    scales, scale_codes = codebook(gaussians.log_scales)
    meta["scales"] = {"codebook": scales.tolist(), "files": ["scales.webp"]}
    colors, color_codes = codebook(gaussians.sh[:, 0])
    meta["sh0"] = {"codebook": colors.tolist(), "files": ["sh0.webp"]}
    images = {
        "means_l": _image(steps & 255),
        "means_u": _image(steps >> 8),
        "quats": _image(to_bytes(255 * (others * SQRT2 + 1) / 2), 252 + largest),
        "scales": _image(scale_codes),
        "sh0": _image(color_codes, to_bytes(255 * gaussians.opacities)),
    }
    return images | _encoded_harmonics(gaussians.sh[:, 1:], meta)


def _encoded_harmonics(
    rest: Float32[np.ndarray, "n m 3"], meta: dict[str, Any]
) -> dict[str, UInt8[np.ndarray, "h w 4"]]:
    """The images of the palette and of each Gaussian's row in it; none for harmonics of degree 0."""
    count, coefficients = rest.shape[:2]
    if not coefficients:
        return {}
    entries = min(LARGEST_PALETTE, max(SMALLEST_PALETTE, count // SMALLEST_SHARE))
    rows, labels = palette(np.ascontiguousarray(rest).reshape(count, -1), entries, np.random.default_rng(0))
    values, codes = codebook(rows)
    lines = -(-len(rows) // PALETTE_COLUMNS)
    pixels = np.zeros((lines * PALETTE_COLUMNS, coefficients, 4), np.uint8)
    pixels[: len(rows), :, :3] = codes.reshape(-1, coefficients, 3)
    pixels[..., 3] = 255
    meta["shN"] = {
        "count": len(rows),
        "bands": BANDS[coefficients],
        "codebook": values.tolist(),
        "files": ["shN_centroids.webp", "shN_labels.webp"],
    }
    return {
        "shN_centroids": pixels.reshape(lines, PALETTE_COLUMNS * coefficients, 4),
        "shN_labels": _image(np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], axis=1)),
    }


def _image(colors: Int[np.ndarray, "n 3"], alpha: Int[np.ndarray, "n"] | int = 255) -> UInt8[np.ndarray, "h w 4"]:
    """A nearly square image whose pixels, row by row, are these colours."""
    width = -(-int(np.ceil(np.sqrt(len(colors)))) // 4) * 4
    height = -(-len(colors) // width)
    pixels = np.zeros((height * width, 4), np.uint8)
    pixels[: len(colors), :3] = colors
    pixels[: len(colors), 3] = alpha
    return pixels.reshape(height, width, 4)


def _webp(pixels: UInt8[np.ndarray, "h w 4"]) -> bytes:
    """A lossless WebP file, colours of transparent pixels included."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "WEBP", lossless=True, exact=True, quality=50, method=1)
    return stream.getvalue()


def _decoded(path: Path, load: Load) -> Scene:
    """The Gaussians that meta.json describes."""
    meta = json.loads(load(META))
    first = "version" not in meta
    if not first and meta["version"] != 2:
        raise UserError(f"{path}: is of SOG version {plain(meta['version'])}; Relief reads 1 and 2")
    count = int(meta["means"]["shape"][0] if first else meta["count"])
    if count < 1:
        raise UserError(f"{path}: holds no Gaussian: its meta data count {count}")
    check_memory(path, count, degree=3 if "shN" in meta else 0)

    def pixels(attribute: str, number: int = 0) -> UInt8[np.ndarray, "n 4"]:
        name = str(meta[attribute]["files"][number])
        return _pixels(path, name, load(name), count).reshape(-1, 4)[:count]

    quats, scales, sh0 = pixels("quats"), pixels("scales"), pixels("sh0")
    tables = _tables(meta["sh0"], 4 if first else 3)
    gaussians = Gaussians(
        means=_means(meta["means"], pixels("means", 0), pixels("means", 1)),
        log_scales=_looked_up(_tables(meta["scales"], 3), scales),
        quaternions=_quaternions(quats),
        opacity_logits=tables[3][sh0[:, 3]] if first else LOGITS[sh0[:, 3]],
        sh=_looked_up(tables[:3], sh0)[:, None],
        antialiased=bool(meta.get("antialias", False)),
    )
    if "shN" in meta:
        rest = _harmonics(path, meta["shN"], load, pixels("shN", 1))
        gaussians = replace(gaussians, sh=np.concatenate([gaussians.sh, rest], axis=1))
    return Scene(gaussians=gaussians, frame=Frame(up=Y_DOWN))


def _means(
    said: dict[str, Any], low: UInt8[np.ndarray, "n 4"], high: UInt8[np.ndarray, "n 4"]
) -> Float32[np.ndarray, "n 3"]:
    steps = (high[:, :3].astype(np.float32) * 256 + low[:, :3]) / 65535
    least, most = (np.array(said[end], np.float64).reshape(3) for end in ("mins", "maxs"))
    logs = least + (most - least) * steps
    return (np.sign(logs) * np.expm1(np.abs(logs))).astype(np.float32)


def _quaternions(pixels: UInt8[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    """Pixels without a valid tag in alpha stand for no rotation."""
    others = (pixels[:, :3] / np.float32(255) * 2 - 1) / SQRT2
    tagged = pixels[:, 3] >= 252
    quaternions = from_smallest_three(np.where(tagged, pixels[:, 3].astype(int) - 252, 0), others)
    return np.where(tagged[:, None], quaternions, IDENTITY)


def _tables(said: dict[str, Any], channels: int) -> Float32[np.ndarray, "channels 256"]:
    """What each byte of each channel stands for: the codebook's entry, or in version 1 a number between two ends."""
    if "codebook" in said:
        return np.broadcast_to(np.array(said["codebook"], np.float32).reshape(256), (channels, 256))
    least, most = (np.broadcast_to(np.array(said[end], np.float32), channels)[:, None] for end in ("mins", "maxs"))
    return least + (most - least) * np.linspace(0, 1, 256, dtype=np.float32)


def _looked_up(tables: Float32[np.ndarray, "3 256"], codes: UInt8[np.ndarray, "n _"]) -> Float32[np.ndarray, "n 3"]:
    return np.stack([table[codes[:, channel]] for channel, table in enumerate(tables)], axis=1)


def _harmonics(
    path: Path, said: dict[str, Any], load: Load, labels: UInt8[np.ndarray, "n 4"]
) -> Float32[np.ndarray, "n m 3"]:
    """Each Gaussian's row of the palette; zeros where the palette has no such row."""
    name = str(said["files"][0])
    pixels = _pixels(path, name, load(name), 0, LARGEST_PALETTE * max(BANDS))
    coefficients = pixels.shape[1] // PALETTE_COLUMNS
    if pixels.shape[1] % PALETTE_COLUMNS or said.get("bands", BANDS.get(coefficients)) != BANDS.get(coefficients, 0):
        raise UserError(f"{path}: {name} is {pixels.shape[1]} pixels wide, which no palette of harmonics is")
    codes = pixels.reshape(-1, coefficients, 4)
    rows = _looked_up(_tables(said, 3), codes.reshape(-1, 4)).reshape(-1, coefficients, 3)
    row = labels[:, 0].astype(int) | labels[:, 1].astype(int) << 8
    known = row < len(rows)
    return np.where(known[:, None, None], rows[np.where(known, row, 0)], np.float32(0))


def _pixels(path: Path, name: str, data: bytes, least: int, most: int | None = None) -> UInt8[np.ndarray, "h w 4"]:
    """An image of `least` to `most` pixels; by default not many more than the least."""
    from PIL import Image

    most = 2 * least + LARGEST_PALETTE if most is None else most
    try:
        with Image.open(io.BytesIO(data), formats=IMAGES) as image:
            if not least <= image.width * image.height <= most:
                raise UserError(
                    f"{path}: {name} has {image.width} x {image.height} pixels where {least} to {most} should be"
                )
            return np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as problem:
        raise UserError(f"{path}: {name} is damaged or no image ({plain(problem)})") from problem


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes. Images are compressed already: one that grows far beyond the file is none."""
    limit = LARGEST_META if name == META else 2 * path.stat().st_size + LARGEST_META
    if name not in archive.namelist():
        raise UserError(f"{path}: has no {plain(name)} in it, which its meta data or the format names")
    with archive.open(name) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{path}: its member {plain(name)} expands to more than {limit >> 10} kB; it is no SOG file")
    return data


def _beside(path: Path, folder: Path, name: str) -> bytes:
    """The bytes of a file in the folder."""
    if Path(name).name != name:
        raise UserError(f"{path}: names the file {plain(name)}, which is not in its folder")
    if not (folder / name).is_file():
        raise UserError(f"{path}: the file {plain(name)} is missing in {folder}")
    return (folder / name).read_bytes()
