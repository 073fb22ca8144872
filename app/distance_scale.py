"""The colours that distances are shown in, the same in the report and in the viewer: blue is 0, red far."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from render.meshes import to_bytes

COLORS = np.array([[0.16, 0.45, 0.70], [0.35, 0.72, 0.66], [0.98, 0.80, 0.36], [0.84, 0.19, 0.15]])


def scale_color(part: Float[np.ndarray, " n"]) -> Float64[np.ndarray, "n 3"]:
    """sRGB colours of the scale from blue (0) through green and yellow to red (1 and more)."""
    at = np.linspace(0, 1, len(COLORS))
    return np.stack([np.interp(part, at, channel) for channel in COLORS.T], axis=1)


def css_gradient() -> str:
    """The scale from left to right, as CSS."""
    stops = ", ".join("rgb({} {} {})".format(*to_bytes(color)) for color in scale_color(np.linspace(0, 1, 7)))
    return f"linear-gradient(90deg,{stops})"
