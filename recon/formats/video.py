"""A video as photos: the sharpest frame of each step that the camera takes (PyAV, extra `relief[video]`).

The way of the camera is measured in pictures: how far what is seen has moved, in widths of the picture. Where the
camera rests no frames are taken, where it moves fast many are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import IO, Any

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

from recon.errors import UserError
from recon.formats.options import PhotoOptions
from recon.formats.untrusted import failures_named, plain
from recon.images import LARGEST
from recon.inputs import Photo, Photos

STEP = 0.03  # widths of the picture from one chosen frame to the next, or more:
MOST = 150  # frames
EXAMINED = 960  # pixels along the longer side, in which sharpness shows
COARSE = 3  # of these pixels in one of those in which motion is measured
BLOCK = 64  # coarse pixels
MOVED = 3.0  # coarse pixels, beyond which motion is measured from a new frame on
NEIGHBOURS = 5  # chosen frames, against whose median sharpness
BLURRED = 0.5  # of it is too little
FEWEST = 3


def read(path: Path, options: PhotoOptions) -> Photos:
    """The chosen frames of the video's first stream, in order.

    Raises:
        UserError: the extra is not installed, the file is damaged, or the camera hardly moves in it.
    """
    times, sharpness, way, size = _examine(path)
    chosen = choose_frames(sharpness, way)
    if len(chosen) < FEWEST:
        raise UserError(f"{path}: what is seen hardly moves in its {len(times)} frames; walk around the subject")
    reduction = min(1.0, options.max_size / max(size))
    width, height = (max(1, round(side * reduction)) for side in size)
    frames = _Frames(path, times[chosen].tolist(), (width, height))
    photos = [
        Photo(f"frame_{index:06d}.png", width, height, partial(frames.read, place), model="video")
        for place, index in enumerate(chosen)
    ]
    note = f"{len(chosen)} of {len(times)} frames are taken, the sharpest of each step of the camera."
    return Photos(tuple(photos), path, ordered=True, notes=(note,))


def choose_frames(sharpness: Float64[np.ndarray, "n"], way: Float64[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
    """The sharpest frame of each step of the way, ascending, less those that are blurred beside their neighbours; at
    most `MOST`.

    `way` is how far the camera has come at each frame, never descending.
    """
    from scipy.ndimage import median_filter

    steps = min(MOST, int((way[-1] - way[0]) / STEP) + 1)
    step = np.minimum(((way - way[0]) / max(way[-1] - way[0], 1e-12) * steps).astype(int), steps - 1)
    order = np.lexsort((-sharpness, step))  # by step, the sharpest of each first
    chosen = np.sort(order[np.unique(step[order], return_index=True)[1]])
    usual = median_filter(sharpness[chosen], size=NEIGHBOURS, mode="nearest")
    return chosen[sharpness[chosen] >= BLURRED * usual]


class _Frames:
    """Frames of a file, by their presentation times in units of the stream, upright and of one size.

    To decode one takes all since the last key frame, so all are decoded at once, when the first is asked for, and kept
    as pixels in a temporary file without a name, which ends with this object.
    """

    def __init__(self, path: Path, times: list[int], size: tuple[int, int]) -> None:
        self._path, self._times, self._size = path, times, size
        self._kept: IO[bytes] | None = None
        self._lock = Lock()  # one place in the file for all threads

    def read(self, place: int) -> UInt8[np.ndarray, "h w 3"]:
        """One of the frames, by its place among the times.

        Raises:
            UserError: the file cannot be decoded a second time, or there is no room for its frames.
        """
        width, height = self._size
        pixels = np.empty((height, width, 3), np.uint8)
        with self._lock:
            if self._kept is None:
                self._kept = self._decoded()
            self._kept.seek(place * pixels.nbytes)
            self._kept.readinto(pixels.data)  # type: ignore[attr-defined]
        return pixels

    def _decoded(self) -> IO[bytes]:
        """A file of all frames' pixels."""
        from PIL import Image

        kept, left = tempfile.TemporaryFile(), iter(self._times)
        wanted = next(left)
        with _opened(self._path) as container:
            for frame in container.decode(container.streams.video[0]):
                if frame.pts != wanted:
                    continue
                image = Image.fromarray(_upright(frame, frame.to_ndarray(format="rgb24")))
                pixels = np.asarray(image.resize(self._size, Image.Resampling.LANCZOS)).tobytes()
                try:
                    kept.write(pixels)
                except OSError as problem:
                    needed = len(self._times) * len(pixels) >> 20
                    raise UserError(
                        f"{tempfile.gettempdir()}: has no room for the {needed} MB of the frames of {self._path}; "
                        "name another folder by TMPDIR"
                    ) from problem
                wanted = next(left, None)
                if wanted is None:
                    return kept
        raise UserError(f"{self._path}: its frame at {wanted} cannot be decoded again; convert the video anew")


def _examine(
    path: Path,
) -> tuple[Int[np.ndarray, "n"], Float64[np.ndarray, "n"], Float64[np.ndarray, "n"], tuple[int, int]]:
    """Of each frame its presentation time, its sharpness, and how far the camera has come; and the upright size."""
    times, sharpness, way = [], [], []
    gone, reference, size = 0.0, None, (0, 0)
    with _opened(path) as container:
        for frame in container.decode(container.streams.video[0]):
            if frame.pts is None:
                continue
            if frame.width * frame.height > LARGEST:
                raise UserError(f"{path}: {frame.width} x {frame.height} pixels are more than a camera takes")
            size = (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
            grey = _grey(frame)
            blocks = _spectra(grey)
            shift = 0.0 if reference is None else _shift(reference, blocks)
            times.append(frame.pts)
            sharpness.append(_sharpness(grey))
            way.append(gone + shift * COARSE / max(grey.shape))
            if reference is None or shift > MOVED:
                gone, reference = way[-1], blocks
    if not times:
        raise UserError(f"{path}: holds no frames that can be decoded; convert the video to H.264 in MP4")
    return np.array(times), np.array(sharpness), np.maximum.accumulate(np.array(way)), size


def _grey(frame: Any) -> Float32[np.ndarray, "h w"]:
    """The frame in grey, its longer side of at most `EXAMINED` pixels."""
    reduction = min(1.0, EXAMINED / max(frame.width, frame.height))
    width, height = max(COARSE, round(frame.width * reduction)), max(COARSE, round(frame.height * reduction))
    return frame.reformat(width=width, height=height, format="gray").to_ndarray().astype(np.float32)


def _sharpness(grey: Float32[np.ndarray, "h w"]) -> float:
    """The variance of the Laplacian."""
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _spectra(grey: Float32[np.ndarray, "h w"]) -> np.ndarray:
    """Fourier transforms of blocks of the coarse picture, faded out towards their borders (m, BLOCK, BLOCK / 2 + 1)."""
    rows, columns = (side // COARSE for side in grey.shape)
    coarse = grey[: rows * COARSE, : columns * COARSE].reshape(rows, COARSE, columns, COARSE).mean((1, 3))
    coarse = np.pad(coarse, [(0, max(0, BLOCK - side)) for side in coarse.shape], mode="edge")
    down, across = (side // BLOCK for side in coarse.shape)
    blocks = coarse[: down * BLOCK, : across * BLOCK].reshape(down, BLOCK, across, BLOCK).swapaxes(1, 2)
    blocks = blocks.reshape(-1, BLOCK, BLOCK)
    fade = np.hanning(BLOCK).astype(np.float32)
    return np.fft.rfft2((blocks - blocks.mean((1, 2), keepdims=True)) * fade[:, None] * fade)


def _shift(one: np.ndarray, other: np.ndarray) -> float:
    """The median distance in coarse pixels that blocks have moved, by phase correlation (Kuglin, Hines 1975)."""
    cross = np.conj(one) * other
    correlation = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=(BLOCK, BLOCK))
    peak = correlation.reshape(len(one), -1).argmax(1)
    down, across = (np.minimum(offset, BLOCK - offset) for offset in np.divmod(peak, BLOCK))
    return float(np.median(np.hypot(down, across)))


def _upright(frame: Any, pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Turned as the container says (counter-clockwise by multiples of 90 degrees)."""
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The opened container; every failure of the decoder is one sentence."""
    library = _library(path)
    try:
        with failures_named(path), library.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: holds no video; give the file that the camera wrote")
            yield container
    except (library.FFmpegError, ValueError) as problem:
        raise UserError(f"{path}: is no sound video ({plain(problem)}); convert it to H.264 in MP4") from problem


def _library(path: Path) -> ModuleType:
    try:
        import av
    except ImportError as missing:
        raise UserError(f'{path}: videos are read with PyAV; pip install "relief[video]" brings it') from missing
    return av
