"""Planar slices: contours, label volumes, elevation contours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from recon.formats import SliceOptions
from recon.inputs import CrossSections

if TYPE_CHECKING:
    from app.report_slices import SliceEvidence
    from app.viewer.page import Page
    from app.viewer.slices import SliceLayer
    from recon.scene import Scene

NAME = "slices"
OPTIONS = SliceOptions


def best_method(sections: CrossSections) -> str:
    """By what was drawn: elevation, contours, or pixels."""
    if sections.is_terrain:
        return "height-field"
    return "least-bending" if sections.volume is None else "morphing"


def metrics(scene: Scene, sections: CrossSections) -> dict[str, Any]:
    """`contour_error`, and `held_out` where slices were left out (docs/metrics.md)."""
    from recon.formats.meshes import whole
    from recon.metrics import contour_error, held_out_dice

    found: dict[str, Any] = {"contour_error": msgspec.to_builtins(contour_error(whole(scene), sections))}
    if scene.label_grid is not None and sections.volume is not None and len(sections.volume.left_out):
        found["held_out"] = msgspec.to_builtins(held_out_dice(sections, scene.label_grid))
    return found


def summary(metrics: dict[str, Any], unit: str) -> list[str]:
    """The report says it better than a line."""
    return []


def size(sections: CrossSections) -> str:
    """Planes and labels."""
    labels = len(sections.labels)
    return f"{len(sections.planes)} slices, {labels} label{'s' * (labels != 1)}"


def evidence(scene: Scene, sections: CrossSections) -> SliceEvidence:
    """The slices as sheets, and how far their contours lie from the result."""
    from app.report_slices import SliceEvidence

    return SliceEvidence(scene, sections)


def layer(page: Page, sections: CrossSections) -> SliceLayer:
    """The folder "Input slices"."""
    from app.viewer.slices import SliceLayer

    return SliceLayer(page, sections)


def write_for_blender(sections: CrossSections, folder: Path) -> None:
    """contours.json: the contours in the user's coordinates, relative to `offset` so that float32 can hold them."""
    labels = {label.id: label for label in sections.labels}
    entries: list[dict[str, Any]] = []
    for plane in sections.planes:
        for ring in plane.rings:
            if ring.label in labels:
                label = labels[ring.label]
                points = plane.to_world(ring.vertices)
                entries.append({"label": label.name, "color": label.color, "closed": True, "points": points})
        for line in plane.lines:
            points = plane.to_world(line)
            entries.append({"label": "elevation", "color": (0.45, 0.32, 0.2), "closed": False, "points": points})
    every = sections.extent
    offset = np.round((every.min(0) + every.max(0)) / 2) if len(every) else np.zeros(3)
    for entry in entries:
        entry["points"] = np.round(entry["points"] - offset, 6).tolist()
    found = {"unit": sections.unit, "offset": offset.tolist(), "contours": entries}
    (folder / "contours.json").write_text(json.dumps(found), encoding="utf-8")
