"""What the report asks of an input, of whatever kind: what it looks like, how it was understood, and how far the result
is from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Float64, Int64

from app.markup import Markup
from app.report_pictures import Image, Viewpoint
from render.cameras import Camera

LEAST_SCALE = 1e-3  # parts of the diagonal


@dataclass(frozen=True)
class Distances:
    """How far samples of the input lie from the result, in the user's unit: the `distance` of each, its `weight` (a
    length, or 1 for points) and the id of its `label`. `least_scale` is a distance too small to be worth a colour."""

    distance: Float64[np.ndarray, " n"]
    weight: Float64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    least_scale: float

    @property
    def greatest_shown(self) -> float:
        """The distance at the end of the colour scale: what 99 % of the weight stays under, or the least."""
        return max(self.quantile(0.99), self.least_scale)

    def mean(self) -> float:
        """The mean over the weight."""
        return float(np.average(self.distance, weights=np.maximum(self.weight, 1e-300)))

    def quantile(self, share: float) -> float:
        """The distance that this share of the weight stays under."""
        order = np.argsort(self.distance)
        weight = np.cumsum(self.weight[order])
        at = np.searchsorted(weight, share * weight[-1])
        return float(self.distance[order][min(at, len(order) - 1)])

    def of(self, label: int) -> Distances | None:
        """Those of one label; None where it has none."""
        mine = self.label == label
        if not mine.any():
            return None
        return Distances(self.distance[mine], self.weight[mine], self.label[mine], self.least_scale)


class Evidence(Protocol):
    """An input beside the result that was made of it, in the coordinates of the scene that it was given.

    `samples` are what its distances are measured at ("contours"), `amount` how much of them ("their length");
    `distances` are None where the input has none from a surface. The sides are seen from `elevation` degrees above the
    horizon.
    """

    samples: str
    amount: str
    elevation: float
    notes: tuple[str, ...]
    distances: Distances | None

    def extent(self) -> Float[np.ndarray, "n 3"]:
        """Points that span what its pictures show."""
        ...

    def understood(self, name: str) -> str:
        """How the input was understood, in a sentence or two."""
        ...

    def pictures(self, viewpoints: Sequence[Viewpoint]) -> tuple[list[Image], str]:
        """The input as it is seen from there, and what these pictures show."""
        ...

    def distance_picture(self, camera: Camera) -> Image | None:
        """The samples over the pale result, coloured by their distance from it; None where it has none."""
        ...

    def further(self, run: Mapping[str, Any], viewpoints: Sequence[Viewpoint]) -> Markup | None:
        """A section that only this kind of input has."""
        ...
