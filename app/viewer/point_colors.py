"""What the colours of points on the page say, and the scale that explains them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8

from app.distance_scale import css_gradient, scale_color
from app.inspection_points import CLASS_NAMES
from recon.inputs import PointCloud, distinct_color
from render.meshes import to_bytes

PLAIN = (0.45, 0.56, 0.66)
GREYS = "linear-gradient(90deg,#000,#fff)"


@dataclass(frozen=True)
class PointColors:
    """sRGB bytes of the points, and `legend`, the scale as HTML; empty where there is nothing to explain."""

    colors: UInt8[np.ndarray, "n 3"]
    legend: str = ""


def choices(cloud: PointCloud, with_surface: bool) -> tuple[str, ...]:
    """What the colours of this cloud can say, the best first."""
    known = {"own colours": cloud.colors, "class": cloud.classification, "intensity": cloud.intensity}
    own = (name for name, values in known.items() if values is not None)
    return (*own, *(["distance"] if with_surface else []), "height", "plain")


def point_colors(
    cloud: PointCloud, choice: str, distances: Float64[np.ndarray, " n"] | None, greatest: float
) -> PointColors:
    """The colours for a choice. `distances` (in the cloud's unit) are None while there is no surface; `greatest` is the
    distance at the end of their scale."""
    unit = "" if cloud.unit == "unknown" else f" {cloud.unit}"
    if choice == "own colours" and cloud.colors is not None:
        return PointColors(cloud.colors)
    if choice == "class" and cloud.classification is not None:
        ids, index = np.unique(cloud.classification, return_inverse=True)
        palette = to_bytes(np.array([distinct_color(int(number)) for number in ids]))
        return PointColors(palette[index], _classes(ids, palette))
    if choice == "intensity" and cloud.intensity is not None:
        low, high = (float(value) for value in np.quantile(cloud.intensity, [0.02, 0.98]))
        part = np.clip((cloud.intensity - low) / max(high - low, 1e-12), 0, 1)
        return PointColors(to_bytes(np.repeat(part[:, None], 3, axis=1)), _scale(GREYS, low, high, ""))
    if choice == "height":
        height = cloud.points @ np.array(cloud.up)
        low, high = float(height.min()), float(height.max())
        return PointColors(_on_scale((height - low) / max(high - low, 1e-300)), _scale(css_gradient(), low, high, unit))
    if choice == "distance" and distances is not None:
        return PointColors(_on_scale(distances / greatest), _scale(css_gradient(), 0.0, greatest, f"{unit} and more"))
    return PointColors(np.tile(to_bytes(np.array(PLAIN)), (len(cloud.points), 1)))


def _on_scale(part: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    return to_bytes(scale_color(np.clip(part, 0, 1)))


def _scale(gradient: str, low: float, high: float, unit: str) -> str:
    """A bar with the numbers at its ends and middle."""
    bar = f'<div style="height:0.7em;border-radius:3px;background:{gradient}"></div>'
    numbers = "".join(f"<span>{text}</span>" for text in (f"{low:.4g}", f"{(low + high) / 2:.4g}", f"{high:.4g}{unit}"))
    return (
        f'<div style="padding:0 0.75em 0.4em;font-size:0.8em">{bar}'
        f'<div style="display:flex;justify-content:space-between">{numbers}</div></div>'
    )


def _classes(ids: UInt8[np.ndarray, " k"], palette: UInt8[np.ndarray, "k 3"]) -> str:
    """A square of its colour before each class."""
    entries = "".join(
        f'<span style="white-space:nowrap;margin-right:0.8em"><span style="display:inline-block;width:0.8em;'
        f'height:0.8em;background:rgb({",".join(map(str, color))})"></span> {CLASS_NAMES.get(number, number)}</span> '
        for number, color in zip(ids.tolist(), palette.tolist(), strict=True)
    )
    return f'<div style="padding:0 0.75em 0.4em;font-size:0.8em">{entries}</div>'
