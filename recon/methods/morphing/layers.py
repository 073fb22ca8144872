"""Slice after slice, the label map on a lattice and where the labels change on its edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt16

from recon.methods.morphing.distances import SliceFields
from recon.methods.morphing.interpolation import Gap, Layer, painted_layer
from recon.methods.morphing.slices import Stack
from recon.scene import Scene

LARGEST_SHARE = 0.99


Crossings = tuple[
    Float32[np.ndarray, "up rows columns"],
    Float32[np.ndarray, "layers down columns"],
    Float32[np.ndarray, "layers rows right"],
]


@dataclass(frozen=True)
class LatticeLabels:
    """Labels at the nodes (layer, row, column) of a lattice, which stand at `affine @ (layer, row, column, 1)` in the
    user's coordinates; for the edge from each node to the next along an axis the share at which the label changes; and
    the labels of the left-out slices."""

    labels: UInt16[np.ndarray, "layers rows columns"]
    crossings: Crossings | None
    affine: Float64[np.ndarray, "4 4"]
    left_out: UInt16[np.ndarray, "slices rows columns"]


@dataclass(frozen=True)
class _Cap:
    """Half of a gap of `layers` lattice steps beyond the first or last slice: so many copies of its layer, and the
    share of the step behind them at which everything ends."""

    layers: int

    @property
    def copies(self) -> int:
        return (self.layers - 1) // 2

    @property
    def share(self) -> float:
        return min(self.layers / 2 - self.copies, LARGEST_SHARE)


class LayersStage:
    """The label map, a kept slice and the gap behind it a step.

    Each gap becomes `refinement` layers per `stack.step`; before the first and after the last slice, half of a gap is
    filled with copies. `fields(n)` gives those of slice n. Without `displacements` nothing moves. `left_out` are the
    positions of slices whose labels are wanted too. `show` makes the preview.
    """

    name = "layers"

    def __init__(
        self,
        stack: Stack,
        fields: Callable[[int], SliceFields],
        displacements: Float32[np.ndarray, "gaps rows columns 2"] | None,
        refinement: int,
        left_out: Int64[np.ndarray, " slices"],
        show: Callable[[LatticeLabels], Scene],
    ) -> None:
        self.stack, self.fields, self.wanted, self.show = stack, fields, left_out, show
        self.steps = len(stack.positions)
        self.layer_step = stack.step / refinement
        still = np.zeros((*stack.painted.shape[1:], 2), np.float32)
        self.displacements = [still] * (self.steps - 1) if displacements is None else list(displacements)
        at = np.rint((stack.positions - stack.positions[0]) / self.layer_step).astype(int)
        self.caps = _Cap(at[1] - at[0]), _Cap(at[-1] - at[-2])
        self.at = at + self.caps[0].copies + 1
        layers, (rows, columns) = self.at[-1] + self.caps[1].copies + 2, stack.painted.shape[1:]
        self.labels = np.zeros((layers, rows, columns), np.uint16)
        self.crossings = [
            np.full(shape, 0.5, np.float32)
            for shape in ((layers - 1, rows, columns), (layers, rows - 1, columns), (layers, rows, columns - 1))
        ]
        self.left_out = np.zeros((len(left_out), rows, columns), np.uint16)

    def step(self, i: int) -> dict[str, float]:
        """Writes slice i and what is between it and the next; the loss is the share of nodes that have a label."""
        first = self.at[i]
        painted = painted_layer(self.fields(i))
        self._put(first, painted)
        if i == 0:
            self._close(painted, first - 1, -1, self.caps[0])
        if i == self.steps - 1:
            self._close(painted, first + 1, 1, self.caps[1])
        else:
            self._fill(i)
        return {"labelled": float(np.count_nonzero(painted.owner) / painted.owner.size)}

    def _fill(self, i: int) -> None:
        """The layers and the left-out slices between slices i and i + 1."""
        start, end = self.at[i], self.at[i + 1]
        low, high = self.stack.positions[i : i + 2]
        slices = [self.fields(n) if 0 <= n < self.steps else None for n in range(i - 1, i + 3)]
        gap = Gap(slices, _around(self.displacements, i), _around(np.diff(self.stack.positions).tolist(), i))
        below = gap.layer(0.0)
        for n in range(start + 1, end + 1):
            above = gap.layer((n - start) / (end - start))
            if n < end:
                self._put(n, above)
            self.crossings[0][n - 1] = _share(below.owner, below.lead, above.owner, above.lead)
            below = above
        for n in np.flatnonzero((self.wanted > low) & (self.wanted < high)):
            t = (self.wanted[n] - low) / (high - low)
            layer = t * (end - start)
            self.left_out[n] = self.labels[start + int(layer)] if layer == int(layer) else gap.layer(t).owner

    def _put(self, n: int, layer: Layer) -> None:
        """Writes the layer at n and the crossings of the edges in it."""
        owner, lead = layer.owner, layer.lead
        self.labels[n] = owner
        self.crossings[1][n] = _share(owner[:-1], lead[:-1], owner[1:], lead[1:])
        self.crossings[2][n] = _share(owner[:, :-1], lead[:, :-1], owner[:, 1:], lead[:, 1:])

    def _close(self, layer: Layer, first: int, direction: int, cap: _Cap) -> None:
        """Copies of the layer from layer `first` on, and the end behind them."""
        for n in range(cap.copies):
            self._put(first + n * direction, layer)
        last = first + cap.copies * direction
        self.crossings[0][last - 1 if direction > 0 else last] = cap.share if direction > 0 else 1 - cap.share

    def state_dict(self) -> dict[str, np.ndarray]:
        crossings = {f"crossings_{axis}": crossing for axis, crossing in enumerate(self.crossings)}
        return {"labels": self.labels, "left_out": self.left_out, **crossings}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.labels, self.left_out = state["labels"], state["left_out"]
        self.crossings = [state[f"crossings_{axis}"] for axis in range(3)]

    def preview(self) -> Scene:
        """The surfaces so far, through every second node."""
        coarse = np.ascontiguousarray(self.labels[::2, ::2, ::2])
        return self.show(LatticeLabels(coarse, None, self._affine() @ np.diag([2.0, 2.0, 2.0, 1.0]), self.left_out))

    def result(self) -> LatticeLabels:
        up, down, right = self.crossings
        return LatticeLabels(self.labels, (up, down, right), self._affine(), self.left_out)

    def _affine(self) -> Float64[np.ndarray, "4 4"]:
        """From (layer, row, column) to the user's coordinates."""
        affine = self.stack.affine.copy()
        affine[:, 3] += affine[:, 0] * (self.stack.positions[0] - self.at[0] * self.layer_step)
        affine[:, 0] *= self.layer_step
        return affine


def _around(row: Sequence, i: int) -> list:
    """Entries i - 1 to i + 1 of a row, with None beyond its ends."""
    return [row[n] if 0 <= n < len(row) else None for n in range(i - 1, i + 2)]


def _share(
    owner: UInt16[np.ndarray, "m n"],
    lead: Float32[np.ndarray, "m n"],
    next_owner: UInt16[np.ndarray, "m n"],
    next_lead: Float32[np.ndarray, "m n"],
) -> Float32[np.ndarray, "m n"]:
    """Where between two nodes their owners' lead is zero, in (0, 1); 1/2 where it is the same owner."""
    share = np.full(owner.shape, 0.5, np.float32)
    changes = owner != next_owner
    share[changes] = lead[changes] / (lead[changes] + next_lead[changes])
    return np.clip(share, 1 - LARGEST_SHARE, LARGEST_SHARE, out=share)
