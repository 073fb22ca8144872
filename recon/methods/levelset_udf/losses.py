"""What the field is taught: to pull queries onto the cloud, as sets, with level sets that agree with each other.

A query q has a nearest point t in the cloud. With f the distance, g = grad f / |grad f|, and m = q - f(q) g(q) the
query pulled to the surface:

    pull         the mean of (mean over m of its distance to the nearest t) and (mean over t of that to the nearest m)
    projection   mean of (1 - |cos(g(m), g(q))|) exp(-10 f(q)): near the surface, a level set and the one that it is
                 pulled to have the same normals up to sign
    surface      mean of f over points of the cloud
    orthogonal   mean of 1 - |cos(g(q), q - t)|: the way to the surface is the way to the nearest point

In terms of phi, f = |phi| and f g = phi grad phi / |grad phi|: the sign cancels everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional

from recon.methods.levelset_udf.field import DistanceField

DECAY = 10.0
SHORTEST = 1e-3  # of a gradient, which elsewhere is about 1 long
CHUNK = 2048  # rows of a distance matrix at once


class Weights(NamedTuple):
    """What the losses beside the pull count."""

    projection: float
    surface: float
    orthogonal: float


OBJECT = Weights(projection=0.002, surface=0.1, orthogonal=0.01)
SCENE = Weights(projection=0.001, surface=0.01, orthogonal=0.0001)


def backpropagate(
    field: DistanceField,
    queries: Float[Tensor, "b 3"],
    targets: Float[Tensor, "b 3"],
    on_surface: Float[Tensor, "s 3"],
    weights: Weights,
) -> Float[Tensor, "4"]:
    """Gives the field's parameters the gradient of the weighted losses in place of the one that they have.

    The result is pull, projection, surface, orthogonal, unweighted.
    """
    matrices = field.weights()
    constant = [matrix.detach() for matrix in matrices]
    count = len(queries)
    around = field.trace(torch.cat([queries, on_surface]), constant)
    # the losses are functions of phi, of grad phi at q and of grad phi at m, whose gradients autograd takes cheaply
    phi, gradient = around.phi.requires_grad_(), around.gradient[:count].requires_grad_()
    g = _direction(gradient)
    pulled = queries - phi[:count, None] * g
    # grad phi is constant around almost every point: that m moves with the weights changes nothing in g(m)
    at_pulled = field.trace(pulled.detach(), constant)
    gradient_there = at_pulled.gradient.requires_grad_()
    losses = _losses(queries, targets, pulled, phi, g, _direction(gradient_there))
    # weighted by Python's numbers: a tensor of them would wait for the device
    total = losses[0] + sum(weight * loss for weight, loss in zip(weights, losses[1:], strict=True))
    alpha, c, c_there = torch.autograd.grad(total, (phi, gradient, gradient_there))
    gradients = [torch.zeros_like(matrix) for matrix in constant]
    field.zero_grad()
    field.add_gradients(around, alpha, c, constant, gradients)
    field.add_gradients(at_pulled, None, c_there, constant, gradients)
    torch.autograd.backward(matrices, gradients)
    return torch.stack(losses).detach()


def _losses(
    queries: Float[Tensor, "b 3"],
    targets: Float[Tensor, "b 3"],
    pulled: Float[Tensor, "b 3"],
    phi: Float[Tensor, "n"],
    g: Float[Tensor, "b 3"],
    g_pulled: Float[Tensor, "b 3"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four losses; phi is that of the queries and then of the points of the cloud."""
    count = len(queries)
    pull = (_to_nearest(pulled, targets) + _to_nearest(targets, pulled)) / 2
    bend = 1 - (g * g_pulled).sum(1).abs()
    projection = (bend * torch.exp(-DECAY * phi[:count].abs())).mean()
    to_targets = functional.normalize(queries - targets, dim=1)
    orthogonal = (1 - (g * to_targets).sum(1).abs()).mean()
    return pull, projection, phi[count:].abs().mean(), orthogonal


def _direction(gradient: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The gradient over its length, but for gradients so short that their direction means nothing."""
    return functional.normalize(gradient, dim=1, eps=SHORTEST)


def _to_nearest(points: Float[Tensor, "n 3"], others: Float[Tensor, "m 3"]) -> Float[Tensor, ""]:
    """The mean distance from each point to the nearest of the others."""
    return (points - others[nearest(points.detach(), others.detach())]).norm(dim=1).mean()


def nearest(points: Float[Tensor, "n 3"], others: Float[Tensor, "m 3"]) -> Int64[Tensor, "n"]:
    """The index of the nearest of the others: by a k-d tree on a CPU, by all distances on a GPU, without waiting."""
    if points.device.type == "cpu":
        return torch.from_numpy(np.asarray(KDTree(others.numpy()).query(points.numpy())[1], np.int64))
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(chunk, others, compute_mode=exact).argmin(1) for chunk in points.split(CHUNK)])
