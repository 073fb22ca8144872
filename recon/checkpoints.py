"""Checkpoint files: named arrays and a sentence of facts about them in one safetensors file.

A file is written under a temporary name, flushed to the disk and renamed: at every moment the checkpoint's name shows
the old state whole, or the new one whole. safetensors itself notices a truncated file; a CRC-32 of the arrays and the
facts notices a changed byte.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np


class DamagedCheckpoint(Exception):
    """The file is no checkpoint, or not the one that was written."""


class UnwritableCheckpoint(Exception):
    """The checkpoint could not be written, because the disk is full for one; what stood there before still does."""


def write(path: Path, arrays: dict[str, np.ndarray], facts: str) -> None:
    """Replaces the checkpoint at `path`; a crash on the way leaves the old one.

    Raises:
        UnwritableCheckpoint: the reason of the operating system, in its words.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    metadata = {"facts": facts, "crc32": str(zlib.crc32(facts.encode(), digest(arrays)))}
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, temporary, metadata)
        _flush_to_disk(temporary)
        temporary.replace(path)
        if os.name == "posix":  # the new name itself is on the disk only when the folder is; Windows opens no folders
            _flush_to_disk(path.parent)
    except (OSError, SafetensorError) as problem:
        temporary.unlink(missing_ok=True)
        raise UnwritableCheckpoint(str(problem)) from problem


def read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays and the facts of the checkpoint at `path`.

    Raises:
        DamagedCheckpoint: the file is truncated, changed, or no checkpoint at all; the exception says which.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError) as problem:
        raise DamagedCheckpoint(str(problem)) from problem
    facts = metadata.get("facts", "")
    if metadata.get("crc32") != str(zlib.crc32(facts.encode(), digest(arrays))):
        raise DamagedCheckpoint("its bytes are not those that were written")
    return arrays, facts


def digest(arrays: dict[str, np.ndarray]) -> int:
    """A CRC-32 of the arrays: names, types, shapes and bytes."""
    crc = 0
    for name in sorted(arrays):
        array = np.require(arrays[name], requirements="C")
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return crc


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
