"""`relief doctor`: what this machine has, what will be used and why, and the command that brings what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil

import msgspec

from recon.errors import UserError

PACKAGES = ("torch", "numba", "embreex", "open3d", "pycolmap", "viser", "gsplat", "nibabel", "pydicom")
EXTRAS = {"av": ("video", "videos"), "pillow_heif": ("phone", "HEIC photos"), "rawpy": ("phone", "RAW photos")}


class Finding(msgspec.Struct, frozen=True):
    """One row: what was looked at, what was found, and the remedy where something is missing."""

    what: str
    found: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Looks at the machine and at what is installed."""
    rows = [
        Finding("system", f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"),
        *(_package(name) for name in PACKAGES),
        *(_extra(name, *told) for name, told in EXTRAS.items()),
        _device(),
        _splat_backend(),
        _tinycudann(),
        _kernel_cache(),
        Finding(
            "Chromium (tests of the viewer)",
            shutil.which("chromium") or shutil.which("google-chrome") or "not found",
        ),
        Finding(
            "Blender (export --to blender writes scene.blend with it)",
            os.environ.get("RELIEF_BLENDER") or shutil.which("blender") or "not found",
            "" if os.environ.get("RELIEF_BLENDER") or shutil.which("blender") else "set RELIEF_BLENDER to a Blender",
        ),
    ]
    return rows


def print_diagnosis(rows: list[Finding]) -> None:
    """Prints the findings as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("what", "found", "remedy"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(row.what, row.found, row.remedy)
    Console().print(table)


def _package(name: str) -> Finding:
    """Whether a package imports, and its version."""
    try:
        if name == "open3d":
            from render.raycasting import import_open3d

            import_open3d()
        else:
            importlib.import_module(name)
    except (ImportError, OSError, UserError) as problem:
        return Finding(
            name, f"does not import: {str(problem).splitlines()[0]}", f"pip install --force-reinstall {name}"
        )
    distribution = importlib.metadata.packages_distributions().get(name, [name])[0]
    return Finding(name, importlib.metadata.version(distribution))


def _extra(name: str, extra: str, what: str) -> Finding:
    """Whether an optional package is installed."""
    if importlib.util.find_spec(name) is None:
        return Finding(f"{name} (optional: {what})", "not installed", f"pip install 'relief[{extra}]'")
    return Finding(f"{name} (optional: {what})", "installed")


def _splat_backend() -> Finding:
    """What rasterises splats; gsplat imports without CUDA, but does not work there, nor without a compiler."""
    import torch

    from render.splats.gsplat_kernels import missing_tools

    what = "splats are drawn and trained by"
    if not torch.cuda.is_available():
        return Finding(what, "Relief's kernels, on the CPU (no CUDA device)")
    missing = missing_tools()
    if missing is None:
        return Finding(what, "gsplat, on cuda")
    fault, _, remedy = missing.partition("; ")
    return Finding(what, f"nothing on cuda: {fault}", f"{remedy}, or give --device cpu")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("networks are trained on", f"cuda ({torch.cuda.get_device_name(0)})")
    why = "torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
    return Finding("networks are trained on", f"the CPU, {torch.get_num_threads()} threads ({why})")


def _tinycudann() -> Finding:
    if importlib.util.find_spec("tinycudann") is None:
        return Finding("tinycudann (optional)", "not installed; torch encodes instead")
    return Finding("tinycudann (optional)", "installed")


def _kernel_cache() -> Finding:
    """Where compiled kernels are kept, so that only the first use waits for the compiler."""
    folder = os.environ.get("NUMBA_CACHE_DIR") or "beside the package, or in the user's cache folder"
    return Finding("compiled kernels are kept", folder)
