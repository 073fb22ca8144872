"""What a set of posed images holds: the facts behind `relief inspect` for views."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from recon.inputs import Views

NAMES_SHOWN = 8
COMPANIONS = ("mask", "labels", "depth", "normals")


def describe_views(views: Views, path: Path, format_name: str) -> dict[str, Any]:
    """The facts of posed images, of JSON's own types alone; lengths are in the user's `unit`.

    `sizes` are those of the views' pinhole pictures with how many have them. `held_out` is None where the input has no
    split. `field_of_view` is horizontal, in degrees; `focal` in pixels. `has` counts the views with a mask, labels,
    depth or normals; `alpha` is of the first picture. `memory_mb` is what all pictures take, in 10^6 bytes.
    `camera_extent` bounds the cameras' positions, `extent` the points, None where there are none.
    """
    cameras = [view.camera for view in views.views]
    sizes = Counter((camera.width, camera.height) for camera in cameras)
    focal = np.array([camera.intrinsics[0, 0] for camera in cameras])
    width = np.array([camera.width for camera in cameras])
    channels = views.views[0].image().shape[2]
    split = [view.held_out for view in views.views if view.held_out is not None]
    return {
        "path": str(path),
        "format": format_name,
        "kind": "views",
        "unit": views.unit,
        "up": list(views.up),
        "views": len(cameras),
        "held_out": sum(split) if split else None,
        "sizes": [{"width": w, "height": h, "views": count} for (w, h), count in sizes.most_common()],
        "focal": _range(focal),
        "field_of_view": _range(np.degrees(2 * np.arctan(width / 2 / focal))),
        "has": {name: sum(getattr(view, name) is not None for view in views.views) for name in COMPANIONS},
        "alpha": channels == 4,
        "labels": [{"id": label.id, "name": label.name} for label in views.labels],
        "memory_mb": sum(camera.width * camera.height for camera in cameras) * channels / 1e6,
        "camera_extent": _extent(np.array([camera.position for camera in cameras])),
        "points": 0 if views.points is None else len(views.points.points),
        "extent": None if views.points is None else _extent(views.points.points),
        "unposed": list(views.unposed),
        "notes": list(views.notes),
    }


def rows_of_views(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each fact of `describe_views`, in words."""
    unit = "" if description["unit"] == "unknown" else f" {description['unit']}"
    held_out, unposed = description["held_out"], description["unposed"]
    split = "no split of its own" if held_out is None else f"{held_out} of them held out by its own split"
    sizes = [f"{size['width']} x {size['height']} ({size['views']})" for size in description["sizes"][:NAMES_SHOWN]]
    has = [f"{name} ({count})" for name, count in description["has"].items() if count]
    has += ["alpha"] if description["alpha"] else []
    rows = [
        ("format", description["format"]),
        ("views", f"{description['views']}, {split}"),
        ("sizes", ", ".join(sizes) + (", ..." if len(description["sizes"]) > NAMES_SHOWN else "")),
        ("focal", f"{_told(description['focal'])} pixels"),
        ("field of view", f"{_told(description['field_of_view'])} degrees across"),
        ("has", ", ".join(has) or "images alone"),
        ("cameras", f"within {_box(description['camera_extent'])}{unit}"),
        ("points", f"{description['points']:,} within {_box(description['extent'])}{unit}")
        if description["points"]
        else ("points", "none: splats start at random"),
        ("up", ", ".join(f"{axis:.3g}" for axis in description["up"])),
        ("unit", description["unit"] if unit else "unknown (--unit tells it)"),
        ("memory", f"{description['memory_mb']:,.0f} MB for all pictures"),
    ]
    if description["labels"]:
        rows.insert(6, ("labels", ", ".join(f"{label['name']} ({label['id']})" for label in description["labels"])))
    if unposed:
        more = f" and {len(unposed) - NAMES_SHOWN} more" if len(unposed) > NAMES_SHOWN else ""
        rows.append(("without pose", ", ".join(unposed[:NAMES_SHOWN]) + more))
    return rows


def _range(values: Float[np.ndarray, "n"]) -> dict[str, float]:
    return {"least": float(values.min()), "mean": float(values.mean()), "greatest": float(values.max())}


def _extent(points: Float[np.ndarray, "n 3"]) -> dict[str, list[float]]:
    low, high = points.min(0), points.max(0)
    return {"low": low.tolist(), "high": high.tolist(), "size": (high - low).tolist()}


def _told(values: dict[str, float]) -> str:
    """One number, or the range where it matters."""
    if values["greatest"] - values["least"] < 1e-3 * values["mean"]:
        return f"{values['mean']:.4g}"
    return f"{values['least']:.4g} to {values['greatest']:.4g}, {values['mean']:.4g} on average"


def _box(extent: dict[str, list[float]]) -> str:
    return " x ".join(f"{side:.4g}" for side in extent["size"])
