"""The surface of a trained network by Relief's extractor for sheets (`recon.surface.sheets`).

The extractor asks at the corners of a lattice for the nearest sheet. The network's answer at x is the distance f along
the axis g = grad f / |grad f|, with the foot x - f g. Where there are samples at all is known from the cloud: its
points, pulled onto the network's zero set, say how far the surface goes, and answer for a sheet that is not the
nearest.

A network that has learnt the noise of its points has a zero set that folds between them. Where the pulled points
scatter about patches through them, the surface is that of the patches (`recon.fields.local_fits`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from recon.fields.local_fits import fit_sheets
from recon.fields.neighbourhoods import distinct_along_curve, local_spacing, nearest
from recon.fields.point_tree import PointTree
from recon.fields.sheet_field import NEIGHBOURS, Local, SheetField
from recon.methods.levelset_udf.field import DistanceField
from recon.methods.levelset_udf.upsampling import directions, pulled


def sheets_of(network: DistanceField, cloud: Float64[np.ndarray, "n 3"]) -> tuple[SheetField, float]:
    """The sheets of a network that was trained on the cloud, and how far the cloud's points scatter about them when
    they are pulled: 0 where the network's own zero set is smooth.

    Raises:
        ValueError: the pulled points are all in one place or on one line.
    """
    points, axes = pulled(network, cloud)
    fitted = fit_sheets(points)
    if fitted.noise > 0:
        return SheetField.of(fitted), fitted.noise
    return NetworkSheets.through(network, points, axes), 0.0


@dataclass(frozen=True, kw_only=True)
class NetworkSheets(SheetField):
    """A field of sheets that asks a network for the nearest one."""

    network: DistanceField

    @classmethod
    def through(
        cls, network: DistanceField, points: Float64[np.ndarray, "n 3"], axes: Float64[np.ndarray, "n 3"]
    ) -> NetworkSheets:
        """The sheets of a network through points on its zero set."""
        order = distinct_along_curve(points)
        points, axes = points[order], axes[order]
        tree = PointTree(points)
        neighbours = nearest(points, NEIGHBOURS, tree)
        return cls(points, axes, local_spacing(points, neighbours), neighbours, tree, 0.0, len(points), network=network)

    def at(self, queries: Float64[np.ndarray, "m 3"]) -> Local:
        """The network's sheet nearest to each query."""
        distance, gradient = self.network.evaluate(queries)
        axis = directions(gradient)
        foot = queries - distance[:, None] * axis
        nearest = super().at(queries)
        return Local(distance.astype(np.float64), axis, foot, nearest.reference, nearest.gap)
