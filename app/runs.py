"""The folder that a run leaves, and its record `run.json`.

A run is known by its request: what was read (by digest), how, with which method, options, seed and device. The same
request finds its folder again and goes on there; another one gets a folder of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Any

import msgspec

from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats import InputOptions
from recon.training import StageRecord

SHOWN_VERSIONS = ("relief", "torch", "numpy", "scipy", "numba", "trimesh")


class InputRecord(msgspec.Struct, frozen=True):
    """What was read: the paths as given, a digest over their bytes, and the reading options."""

    paths: tuple[str, ...]
    digest: str
    options: InputOptions


class Request(msgspec.Struct, frozen=True):
    """All that decides a result. `options` are the method's as asked for, before a time limit fixed them."""

    input: InputRecord
    method: str
    options: dict[str, Any]
    seed: int
    device: str
    time_limit: float | None


class RunRecord(msgspec.Struct):
    """run.json. `config` is what the method was run with; `status` is running, done, stopped or failed. `poses` is the
    folder of the cameras that Relief found for photos."""

    status: str
    input: InputRecord
    method: str
    config: dict[str, Any]
    seed: int
    device: str
    request: Request
    versions: dict[str, str]
    poses: str | None = None
    frame: dict[str, Any] = {}
    labels: list[dict[str, Any]] = []
    warnings: list[str] = []
    metrics: dict[str, Any] = {}
    stages: list[StageRecord] = []


def digest(path: Path) -> str:
    """SHA-256 over a file's bytes, or over the names and bytes of the files in a folder."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(str(file.relative_to(path)).encode() + b"\0")
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def versions() -> dict[str, str]:
    """The versions of Relief and of what its results depend on."""
    found = {"python": platform.python_version()}
    for name in SHOWN_VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def folder_for(request: Request, out: Path | None, fresh: bool) -> tuple[Path, RunRecord | None, str | None]:
    """The run's folder, the record of an earlier session of the same run, and a sentence where another run of this name
    was met.

    Raises:
        UserError: `out` holds something else.
    """
    if out is not None:
        earlier = _record_in(out)
        if earlier is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out}: holds something that is no run; give another folder")
        if earlier is not None and not _is_same(earlier.request, request) and not fresh:
            raise UserError(f"--out {out}: holds a run of another input or other options; --fresh replaces it")
        return _begun(out, earlier, fresh), earlier if not fresh else None, None
    stem = Path(request.input.paths[0]).name.split(".")[0] or "input"
    base = Path("runs") / f"{file_names([stem])[stem]}-{request.method}"
    folder, number = base, 1
    while (earlier := _record_in(folder)) is not None and not _is_same(earlier.request, request):
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    said = f"{base} is a run of another input or other options; this one goes to {folder}" if number > 1 else None
    return _begun(folder, earlier, fresh), earlier if not fresh else None, said


def write_record(folder: Path, record: RunRecord) -> None:
    """Writes run.json, whole or not at all."""
    with replacing(folder / "run.json") as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))


def read_record(folder: Path) -> RunRecord:
    """The record of a run.

    Raises:
        UserError: the folder holds none.
    """
    record = _record_in(folder)
    if record is None:
        raise UserError(f"{folder}: is no run folder (it holds no readable run.json)")
    return record


def _is_same(one: Request, other: Request) -> bool:
    """Whether both ask for the same of the same bytes, wherever these stand."""
    placed = msgspec.structs.replace(one.input, paths=other.input.paths)
    return msgspec.structs.replace(one, input=placed) == other


def _record_in(folder: Path) -> RunRecord | None:
    try:
        return msgspec.json.decode((folder / "run.json").read_bytes(), type=RunRecord)
    except (OSError, msgspec.DecodeError):
        return None


def _begun(folder: Path, earlier: RunRecord | None, fresh: bool) -> Path:
    """The folder, made, and emptied of an earlier run's work where a fresh start is wanted."""
    if fresh and earlier is not None:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
