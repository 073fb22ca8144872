"""What an input holds and how it was understood: the facts behind `relief inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.inspection_photos import describe_photos, rows_of_photos
from app.inspection_points import describe_points, rows_of_points
from app.inspection_views import describe_views, rows_of_views
from recon.inputs import CrossSections, Input, Photos, PointCloud, Views
from recon.slices import Label, Plane

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PARALLEL = 1e-3  # radians between normals
ROWS_SHOWN = 60


def describe(of: Input, path: Path, format_name: str) -> dict[str, Any]:
    """The facts of an input, of JSON's own types alone; lengths are in the user's `unit`. Those of points:
    `describe_points`, of views: `describe_views`, of photos: `describe_photos`; those of cross-sections:

    `kind` is "label volume", "contours" or "terrain". `extent` bounds the contours, those traced around the pixels of a
    volume's kept slices included. `plane_distance` is that between neighbouring parallel planes along their normal,
    None where the planes are not parallel; `volume` is None where contours were drawn.
    """
    if isinstance(of, PointCloud):
        return describe_points(of, path, format_name)
    if isinstance(of, Views):
        return describe_views(of, path, format_name)
    if isinstance(of, Photos):
        return describe_photos(of, path, format_name)
    sections, planes = of, of.planes
    kind = "terrain" if sections.is_terrain else "contours" if sections.volume is None else "label volume"
    return {
        "path": str(path),
        "format": format_name,
        "kind": kind,
        "unit": sections.unit,
        "up": list(sections.up),
        "labels_share_space": sections.partition,
        "planes": len(planes),
        "empty_planes": sum(not plane.rings and not plane.lines for plane in planes),
        "parallel": _are_parallel(planes),
        "plane_distance": _plane_distance(planes),
        "contours": sum(len(plane.rings) + len(plane.lines) for plane in planes),
        "contour_vertices": sum(len(ring.vertices) for plane in planes for ring in plane.rings)
        + sum(len(line) for plane in planes for line in plane.lines),
        "extent": _extent(planes),
        "labels": _labels(sections),
        "volume": _volume(sections),
        "notes": list(sections.notes),
    }


def print_description(description: dict[str, Any], console: Console) -> None:
    """Prints what `describe` gives as tables: the input, its labels, and what was odd about it."""
    from rich.table import Table

    rows_of = {"points": rows_of_points, "views": rows_of_views, "photos": rows_of_photos}

    facts = Table(title=description["path"], title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows_of.get(description["kind"], _rows_of_sections)(description):
        facts.add_row(name, value)
    console.print(facts)
    if description["kind"] in ("contours", "label volume"):
        console.print(_label_table(description["labels"]))
    for note in description["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)


def _are_parallel(planes: tuple[Plane, ...]) -> bool:
    """Whether all normals agree with the first one, up to sign."""
    normals = np.array([plane.normal for plane in planes])
    return bool((np.linalg.norm(np.cross(normals, normals[0]), axis=1) < PARALLEL).all())


def _plane_distance(planes: tuple[Plane, ...]) -> dict[str, float] | None:
    if not _are_parallel(planes):
        return None
    heights = np.sort([plane.origin @ planes[0].normal for plane in planes])
    gaps = np.diff(heights)
    return {"least": float(gaps.min()), "median": float(np.median(gaps)), "greatest": float(gaps.max())}


def _extent(planes: tuple[Plane, ...]) -> dict[str, list[float]]:
    """The box of all contour vertices in the user's coordinates."""
    drawn = [(plane, [ring.vertices for ring in plane.rings] + list(plane.lines)) for plane in planes]
    points = np.concatenate([plane.to_world(np.concatenate(outlines)) for plane, outlines in drawn if outlines])
    low, high = points.min(0), points.max(0)
    return {"low": low.tolist(), "high": high.tolist(), "size": (high - low).tolist()}


def _labels(sections: CrossSections) -> list[dict[str, Any]]:
    """Each label with the planes that it is on and its rings, holes counted apart."""
    counts = {label.id: np.zeros(3, int) for label in sections.labels}
    for plane in sections.planes:
        for ring in plane.rings:
            counts[ring.label] += (0, not ring.hole, ring.hole)
        for label in {ring.label for ring in plane.rings}:
            counts[label] += (1, 0, 0)
    return [_label_facts(label, *counts[label.id].tolist()) for label in sections.labels]


def _label_facts(label: Label, planes: int, contours: int, holes: int) -> dict[str, Any]:
    color = "#" + "".join(f"{round(255 * channel):02x}" for channel in label.color)
    return {"id": label.id, "name": label.name, "color": color, "planes": planes, "contours": contours, "holes": holes}


def _volume(sections: CrossSections) -> dict[str, Any] | None:
    volume = sections.volume
    if volume is None:
        return None
    return {
        "shape": list(volume.labels.shape),
        "voxel_size": volume.spacing.tolist(),
        "affine": volume.affine.tolist(),
        "axis": volume.axis,
        "kept_slices": len(volume.kept),
        "left_out_slices": len(volume.left_out),
    }


def _rows_of_sections(description: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of the first table: name and value."""
    unit = "" if description["unit"] == "unknown" else f" {description['unit']}"
    distance, volume = description["plane_distance"], description["volume"]
    orientation = "not parallel"
    if distance:
        even = distance["greatest"] - distance["least"] <= 1e-3 * distance["greatest"]
        span = f"{distance['median']:.4g}" if even else f"{distance['least']:.4g} to {distance['greatest']:.4g}"
        orientation = f"parallel, {span}{unit} apart"
    rows = [
        ("format", f"{description['format']} ({description['kind']})"),
        ("planes", f"{description['planes']}, {orientation}, {description['empty_planes']} of them empty"),
        ("contours", f"{description['contours']} with {description['contour_vertices']} vertices"),
        ("from", _point(description["extent"]["low"])),
        ("to", _point(description["extent"]["high"])),
        ("size", " x ".join(f"{side:.4g}" for side in description["extent"]["size"]) + unit),
        ("unit", description["unit"] if unit else "unknown (--unit tells it)"),
    ]
    if volume:
        shape, side = (" x ".join(f"{number:g}" for number in volume[key]) for key in ("shape", "voxel_size"))
        rows.append(("voxels", f"{shape} of {side}{unit}"))
        kept = f"{volume['kept_slices']} along array axis {volume['axis']}"
        rows.append(("slices", f"{kept}, {volume['left_out_slices']} between them left out to compare with"))
    return rows


def _point(coordinates: list[float]) -> str:
    return ", ".join(f"{coordinate:.4g}" for coordinate in coordinates)


def _label_table(labels: list[dict[str, Any]]) -> RenderableType:
    """One row a label with its colour; of more than `ROWS_SHOWN` labels the first ones."""
    from rich.table import Table
    from rich.text import Text

    more = f", the first {ROWS_SHOWN}" if len(labels) > ROWS_SHOWN else ""
    table = Table(title=f"{len(labels)} label{'s' if len(labels) > 1 else ''}{more}", title_justify="left")
    for heading in ("id", "", "name", "planes", "contours", "holes"):
        table.add_column(heading, justify="left" if heading in ("", "name") else "right")
    for label in labels[:ROWS_SHOWN]:
        numbers = (str(label[key]) for key in ("planes", "contours", "holes"))
        table.add_row(str(label["id"]), Text("■", style=label["color"]), Text(label["name"]), *numbers)
    return table
