"""Reading files that may be broken or lie: every failure is one sentence, and memory stays within stated bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError

MAX_TEXT_BYTES = 64 << 20
"""Contour files are read whole; this many bytes hold about 1.5 million vertices and take up to ten times their size."""

LARGEST_COORDINATE = 1e12
"""Beyond it a number is no length: sums of squares of such numbers lose all that is smaller, or overflow."""

GZIP_MAX_RATIO = 1032
"""Deflate writes at best 258 bytes for two bits: a gzip stream cannot expand more than this."""


def plain(text: object, limit: int = 120) -> str:
    """Text from a file, fit for a sentence or a name: one line, printable, no longer than `limit`."""
    printable = "".join(letter if letter.isprintable() else " " for letter in str(text))
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def are_coordinates(points: Float64[np.ndarray, "..."]) -> bool:
    """Whether all numbers are finite and no larger than `LARGEST_COORDINATE`."""
    return bool((np.abs(points) <= LARGEST_COORDINATE).all())


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turns what the system and the decompressors raise on this file into a `UserError`."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        reason = plain(error) or type(error).__name__  # of a decompressor; gzip's and bz2's errors are OSErrors, too
        raise UserError(f"{path}: cannot be read to its end ({reason}); the file is damaged or cut short") from error


def read_whole(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """The file's bytes.

    Raises:
        UserError: it is empty, larger than `limit` or cannot be read.
    """
    with failures_named(path), path.open("rb") as file:
        content = file.read(limit + 1)
    if not content:
        raise UserError(f"{path}: the file is empty")
    if len(content) > limit:
        raise UserError(f"{path}: the file is larger than {limit >> 20} MB, the most that is read of such a file")
    return content


def check_promise(path: Path, promised: int, available: int, ratio: int = 1) -> None:
    """Refuses a header that promises more bytes than the file can hold, before anything is allocated.

    Raises:
        UserError: `promised` exceeds `available` times the most that the file's compression can expand.
    """
    if promised > available * ratio:
        raise UserError(
            f"{path}: its header promises {promised} bytes of voxels, more than the {available} bytes in the file"
            f"{' can hold' if ratio == 1 else ' can expand to'}; the file is damaged or cut short"
        )
