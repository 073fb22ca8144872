"""The network: its value is the unsigned distance, and its derivatives come in closed form.

phi is a perceptron of eight hidden layers of 256 with ReLU, the point x given once more to layer 4; the distance is
f = |phi|. Layer k maps what it is given, h_k, to W_k h_k + b_k. Where a unit is off it stays off for small changes, so
that phi is linear around almost every x, and every derivative that training needs is a product of the W_k with those
units left out:

    adjoint    a_k: how phi changes with the output of layer k, from the last layer down; grad phi is what is left at x
    tangent    t_k: how h_k changes along a direction c at x, from the first layer up; c . grad phi is what comes out
    weights    d(alpha phi + c . grad phi) / dW_k = a_k (alpha h_k + t_k)^T

The last line is the derivative of any loss of phi and grad phi with alpha = dL/d phi and c = dL/d grad phi: no
back-propagation through a back-propagation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 256
HIDDEN_LAYERS = 8
SKIP = 4  # the layer that is given x once more
RADIUS = 0.5  # of the sphere that the untrained field is about the distance from
CHUNK = 2**12  # points evaluated at once


class Trace(NamedTuple):
    """What a pass over n points leaves: phi (n,), its gradient (n, 3), and for each layer what it was given and its
    adjoint, (n, width)."""

    phi: Float[Tensor, "n"]
    gradient: Float[Tensor, "n 3"]
    given: list[Tensor]
    adjoints: list[Tensor]


class DistanceField(nn.Module):
    """The network with weight normalisation, W_k = lengths_k directions_k / |directions_k| for each row, initialised
    so that phi is about |x| - 1/2."""

    def __init__(self, seed: int, width: int = WIDTH) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        inputs = [3, *[width] * HIDDEN_LAYERS]
        outputs = [width] * HIDDEN_LAYERS + [1]
        outputs[SKIP - 1] -= 3
        rows = [
            torch.randn(m, n, generator=generator) * (2 / m) ** 0.5 for n, m in zip(inputs[:-1], outputs, strict=False)
        ]
        rows.append((torch.pi / width) ** 0.5 + 1e-4 * torch.randn(1, width, generator=generator))
        self.directions = nn.ParameterList(rows)
        self.lengths = nn.ParameterList(row.norm(dim=1) for row in rows)
        self.biases = nn.ParameterList(torch.zeros(m) for m in outputs[:-1])
        self.biases.append(nn.Parameter(torch.tensor([-RADIUS])))

    def weights(self) -> list[Float[Tensor, "m n"]]:
        """W_k of each layer."""
        return [
            direction * (length / direction.norm(dim=1))[:, None]
            for direction, length in zip(self.directions, self.lengths, strict=True)
        ]

    @torch.no_grad()
    def trace(self, points: Float[Tensor, "n 3"], weights: list[Tensor]) -> Trace:
        """phi and its gradient at the points, and what their derivatives in the weights are made of."""
        given, h = [], points
        for k, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            if k == SKIP:
                h = torch.cat([h, points], 1).div_(2**0.5)
            given.append(h)
            h = functional.linear(h, weight, bias)
            if k < HIDDEN_LAYERS:
                functional.relu_(h)
        gradient = points.new_zeros(points.shape)
        adjoints = [torch.ones_like(h)]
        for k in range(HIDDEN_LAYERS, 0, -1):
            a = adjoints[0] @ weights[k]
            if k == SKIP:
                gradient += a[:, -3:] / 2**0.5
                a = a[:, :-3].div(2**0.5)
            adjoints.insert(0, _where_on(a, given[k]))
        return Trace(h[:, 0], gradient.addmm_(adjoints[0], weights[0]), given, adjoints)

    @torch.no_grad()
    def add_gradients(
        self,
        trace: Trace,
        alpha: Float[Tensor, "n"] | None,
        c: Float[Tensor, "m 3"],
        weights: list[Tensor],
        gradients: list[Tensor],
    ) -> None:
        """Adds d(alpha phi + c . grad phi) / dW_k, summed over the points, to the gradients, and sets the biases'.

        Without alpha it is zero, and the biases are left alone; c may be shorter than the points and is zero beyond.
        """
        t = c
        for k, (h, a) in enumerate(zip(trace.given, trace.adjoints, strict=True)):
            if k == SKIP:
                t = torch.cat([t, c], 1).div_(2**0.5)
            if alpha is None:
                gradients[k].addmm_(a.T, t)
            else:
                change = h * alpha[:, None]
                change[: len(c)] += t
                gradients[k].addmm_(a.T, change)
                self.biases[k].grad = alpha @ a
            if k < HIDDEN_LAYERS:
                t = _where_on(t @ weights[k].T, trace.given[k + 1][: len(c)])

    def evaluate(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 3"]]:
        """The distance and its gradient, about 1 long, away from the surface; on it, to either side."""
        device = self.biases[0].device
        with torch.no_grad():
            weights = self.weights()
            distances, gradients = [], []
            for chunk in torch.as_tensor(points, dtype=self.biases[0].dtype).split(CHUNK):
                trace = self.trace(chunk.to(device), weights)
                distances.append(trace.phi.abs().cpu())
                gradients.append(torch.where(trace.phi[:, None] < 0, -trace.gradient, trace.gradient).cpu())
        return torch.cat(distances).numpy(), torch.cat(gradients).numpy()


def _where_on(values: Float[Tensor, "n w"], outputs: Float[Tensor, "n v"]) -> Float[Tensor, "n w"]:
    """The values, in place, of the units whose outputs are positive; the others' are 0."""
    outputs = outputs[:, : values.shape[1]]
    return torch.ops.aten.threshold_backward.grad_input(values, outputs, 0, grad_input=values)
