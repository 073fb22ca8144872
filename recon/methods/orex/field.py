"""The recurrent field: one small network, asked ten times, that refines its answer each time.

Symbols, as in the paper: x a point, l the logit (positive outside), h the hidden code, E the encoding of x, PE(i) the
encoding of the iteration's number. From learnable l_0 and h_0, with one MLP for all iterations:

    (dl, h_i) = MLP(E(x), l_{i-1}, h_{i-1} + PE(i)),    l_i = l_{i-1} + dl

All ten logits are taught. With K labels l has K components, one per label; K = 1 is the published network.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from recon.methods.orex.contour_samples import SILENT

ITERATIONS = 10
FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 16.0)  # where they start; they are learnt
ENCODING = 3 + 3 * 2 * len(FREQUENCIES)
HIDDEN = 32
WIDTH = 64
LAYERS = 8
SLOPE = 0.01  # of the leaky ReLU
STEEPEST = 100.0
STEEPNESS_WEIGHT = 1e-4
CHUNK = 2**14  # points evaluated at once


class RefinementField(nn.Module):
    """The field of `labels` labels, initialised from `seed`. `exclusive` says that they share space out: at most one
    label is at a point, so that the logits of the background (0) and of the labels (-l) compete."""

    iteration_code: Tensor

    def __init__(self, labels: int, exclusive: bool, seed: int) -> None:
        super().__init__()
        self.labels, self.exclusive = labels, exclusive
        generator = torch.Generator().manual_seed(seed)
        state = labels + HIDDEN
        widths = [ENCODING + state, *[WIDTH] * (LAYERS - 1), state]
        self.cos_frequencies = nn.Parameter(torch.tensor(FREQUENCIES))
        self.sin_frequencies = nn.Parameter(torch.tensor(FREQUENCIES))
        self.initial = nn.Parameter(torch.rand(state, generator=generator))
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(outputs, inputs), generator=generator)
            for inputs, outputs in zip(widths, widths[1:], strict=False)
        )
        self.biases = nn.ParameterList(torch.rand(outputs, generator=generator) for outputs in widths[1:])
        # PE(i): sin and cos of i 2^k, for the hidden part of the state alone
        angles = torch.arange(1, ITERATIONS + 1)[:, None] * 2.0 ** torch.arange(HIDDEN // 2)
        code = torch.cat([torch.zeros(ITERATIONS, labels), torch.sin(angles), torch.cos(angles)], 1)
        self.register_buffer("iteration_code", code, persistent=False)

    def forward(
        self, points: Float[Tensor, "n 3"], activations: list[Tensor] | None = None
    ) -> Float[Tensor, "iterations n labels"]:
        """The logits of every iteration. What the layers give on the way is appended to `activations`."""
        kept = [] if activations is None else activations
        first, *middle, last = zip(self.weights, self.biases, strict=True)
        # E(x) is the same in all iterations, and so is what the first layer makes of it.
        encoded = functional.linear(self.encoding(points), first[0][:, :ENCODING], first[1])
        from_state = first[0][:, ENCODING:].T
        state = self.initial.expand(len(points), -1)
        logits = []
        for i in range(ITERATIONS):
            x = functional.leaky_relu_(torch.addmm(encoded, state + self.iteration_code[i], from_state), SLOPE)
            kept.append(x)
            for weight, bias in middle:
                x = functional.leaky_relu_(functional.linear(x, weight, bias), SLOPE)
                kept.append(x)
            change = functional.linear(x, *last)
            state = self._changed(state, change)
            logits.append(state[:, : self.labels])
            if activations is None:
                kept.clear()
        return torch.stack(logits)

    def tangents(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], activations: list[Tensor]
    ) -> Float[Tensor, "n labels"]:
        """How fast the last logits change along a direction at each point, given the activations there.

        The chain rule forwards: each layer maps tangents by its weights and by the slope, 1 or `SLOPE`, that its
        activation stands on.
        """
        first, *middle, last = self.weights
        one, slope = points.new_tensor([1.0, SLOPE])
        slopes = (torch.where(x > 0, one, slope) for x in activations)
        encoded = functional.linear(self.encoding_tangents(points, directions), first[:, :ENCODING])
        from_state = first[:, ENCODING:].T
        state = encoded.new_zeros(len(points), self.labels + HIDDEN)
        for _ in range(ITERATIONS):
            x = torch.addmm(encoded, state, from_state) * next(slopes)
            for weight in middle:
                x = functional.linear(x, weight) * next(slopes)
            state = self._changed(state, functional.linear(x, last))
        return state[:, : self.labels]

    def _changed(self, state: Float[Tensor, "n state"], change: Float[Tensor, "n state"]) -> Float[Tensor, "n state"]:
        """(l + dl, h')."""
        return torch.cat([state[:, : self.labels] + change[:, : self.labels], change[:, self.labels :]], 1)

    def encoding(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n encoding"]:
        """E(x) = (x, cos x f_c, sin x f_s), the frequencies shared by the three axes."""
        cosines = torch.cos(points[:, :, None] * self.cos_frequencies).flatten(1)
        sines = torch.sin(points[:, :, None] * self.sin_frequencies).flatten(1)
        return torch.cat([points, cosines, sines], 1)

    def encoding_tangents(
        self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n encoding"]:
        """How fast the encoding changes along a direction u at each point: (u, -sin(x f_c) f_c u, cos(x f_s) f_s u)."""
        x, u = points[:, :, None], directions[:, :, None]
        of_cosines = -torch.sin(x * self.cos_frequencies) * self.cos_frequencies * u
        of_sines = torch.cos(x * self.sin_frequencies) * self.sin_frequencies * u
        return torch.cat([directions, of_cosines.flatten(1), of_sines.flatten(1)], 1)

    def nearest_boundary(self, logits: Float[Tensor, "n labels"]) -> Float[Tensor, "n labels"]:
        """Weights w whose sum w l is 0 on the boundary that is nearest in the logits; 1 where there is one label.

        Where labels share space out, it is the difference of the two that lead (0 stands for none); else the logit
        closest to 0.
        """
        if self.labels == 1:
            return torch.ones_like(logits)
        if not self.exclusive:
            return functional.one_hot(logits.abs().argmin(1), self.labels).to(logits.dtype)
        best, second = functional.pad(logits, (1, 0)).topk(2, largest=False).indices.T
        sides = (functional.one_hot(label, self.labels + 1).to(logits.dtype) for label in (best, second))
        return (next(sides) - next(sides))[:, 1:]

    def evaluate(self, points: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n labels"]:
        """The last iteration's logits."""
        device = self.initial.device
        with torch.inference_mode():
            chunks = torch.as_tensor(points, dtype=torch.float32).split(CHUNK)
            return torch.cat([self(chunk.to(device))[-1].cpu() for chunk in chunks]).numpy()

    def gradient(self, points: Float[np.ndarray, "n 3"], label: int) -> Float32[np.ndarray, "n 3"]:
        """The gradient of a label's last logit, at each point its own; it points outwards."""
        device = self.initial.device
        gradients = []
        for chunk in torch.as_tensor(points, dtype=torch.float32).split(CHUNK):
            x = chunk.to(device).requires_grad_()
            gradients.append(torch.autograd.grad(self(x)[-1, :, label].sum(), x)[0].cpu())
        return torch.cat(gradients).numpy()


def losses(
    field: RefinementField, points: Float[Tensor, "n 3"], halves: UInt8[Tensor, "n labels"]
) -> tuple[Tensor, Tensor]:
    """What a step minimises the sum of: how unlikely the labels are, and how much too steep the last logit is.

    The likelihood is taken at every iteration and averaged. The steepness is |g| - `STEEPEST` where that is positive,
    g the gradient of the last logit, and its derivative in the weights needs no back-propagation through a
    back-propagation: with u = g / |g| held fixed, d|g| = d(u . g), and u . g is how fast the logit changes along u.
    """
    points = points.detach().requires_grad_()
    activations: list[Tensor] = []
    logits = field(points, activations)
    likelihood = _negative_log_likelihood(field, logits, halves)
    weights = field.nearest_boundary(logits[-1].detach())
    (gradient,) = torch.autograd.grad((weights * logits[-1]).sum(), points, retain_graph=True)
    norm = gradient.norm(dim=1)
    steep = torch.nonzero(norm > STEEPEST)[:, 0]
    directions = gradient[steep] / norm[steep, None]
    at_steep = [x.detach()[steep] for x in activations]
    speeds = (weights[steep] * field.tangents(points.detach()[steep], directions, at_steep)).sum(1)
    return likelihood, STEEPNESS_WEIGHT * (speeds - STEEPEST).sum() / len(points)


def _negative_log_likelihood(
    field: RefinementField, logits: Float[Tensor, "iterations n labels"], halves: UInt8[Tensor, "n labels"]
) -> Tensor:
    """-log p(what is there), a contour point being half of either side; mean over points and iterations.

    Labels that a plane is silent about are left out of it.
    """
    spoken = halves != SILENT
    shares = torch.where(spoken, halves.to(logits.dtype) / 2, 0.0)
    if field.exclusive and field.labels > 1:
        log_p = functional.pad(-logits, (1, 0)).log_softmax(-1)
        shares = torch.cat([1 - shares.sum(1, keepdim=True), shares], 1)
        return -(log_p * shares).sum(-1).mean()
    entropies = functional.binary_cross_entropy_with_logits(
        logits, (1 - shares).expand_as(logits), weight=spoken.to(logits.dtype).expand_as(logits), reduction="sum"
    )
    return entropies / (len(logits) * len(halves))
