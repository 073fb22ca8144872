"""Where Gaussians are added and removed.

`ByError` removes those that are hardly seen and halves those at which the pictures are the most wrong, up to a budget.
The gradient of their places, by which Kerbl et al. (2023) choose, misses texture finer than the Gaussians: what pulls
one to the left and what pulls it to the right cancel; the error stays (Rota Bulò et al., Revising densification in
Gaussian splatting, 2024). `ByRelocation` (after Kheradmand et al., 3D Gaussian Splatting as Markov chain Monte Carlo,
2024) takes them for samples: dead ones move to where opaque ones are, in a way that leaves the picture as it is, and
noise keeps them exploring.

Both yield `Rows`: from which of the old Gaussians each new one comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from render.splats import Splats

WEAK = 0.03  # opacity under which a Gaussian is removed: it costs as much as one that shows, which takes its place
FAINT = 0.005  # opacity under which one is relocated
NARROWED = 0.6  # the width of a half, of the whole's along its longest axis
MOST_GROWTH = 0.3  # of the number there is, in one go
MOST_RELOCATED = 0.05  # of the number there is, added in one go where growth is by relocation
MOST_COPIES = 20  # that one Gaussian is taken for; the alternating sum loses its digits beyond
NOISE = 5e5  # of the means' learning rate


class Rows(NamedTuple):
    """New Gaussian j comes from old Gaussian `source[j]`; where `fresh`, its moments begin anew."""

    source: Int[torch.Tensor, "m"]
    fresh: Bool[torch.Tensor, "m"]


Errors = Callable[[], Float[torch.Tensor, "n"]]  # how wrong the pictures are at each Gaussian, for whoever asks


class Density(Protocol):
    """How the number and the places of Gaussians are seen to."""

    def change(self, splats: Splats, errors: Errors, wanted: int, rng: np.random.Generator) -> tuple[Splats, Rows]:
        """The Gaussians after removal and growth to the wanted number at most, and where they come from."""
        ...

    def disturb(self, splats: Splats, means_rate: float, rng: np.random.Generator) -> None:
        """What a step does to them beside learning."""
        ...


class ByError:
    """Removal of faint ones, and halving of those at which the pictures are the most wrong."""

    def change(self, splats: Splats, errors: Errors, wanted: int, rng: np.random.Generator) -> tuple[Splats, Rows]:
        kept = torch.sigmoid(splats.opacity_logits) > WEAK
        if not kept.any():  # photos of nothing: there must be something to go on with
            kept[0] = True
        score = torch.where(kept, errors(), 0)
        survivors = int(kept.sum())
        added = max(0, min(wanted - survivors, int(MOST_GROWTH * survivors), int((score > 0).sum())))
        chosen = torch.topk(score, added).indices
        source = torch.cat([kept.nonzero()[:, 0], chosen])
        side = torch.zeros_like(score)
        side[chosen] = 1
        side = torch.cat([side[kept], torch.full_like(side[:added], -1)])
        return _halves(Splats(*(values[source] for values in splats)), side), Rows(source, side != 0)

    def disturb(self, splats: Splats, means_rate: float, rng: np.random.Generator) -> None:
        pass


class ByRelocation:
    """Relocation of faint ones, growth by the same move, and noise."""

    def change(self, splats: Splats, errors: Errors, wanted: int, rng: np.random.Generator) -> tuple[Splats, Rows]:
        opacities = torch.sigmoid(splats.opacity_logits)
        faint = opacities <= FAINT
        count, device = len(faint), faint.device
        added = max(0, min(wanted, int((1 + MOST_RELOCATED) * count)) - count)
        source = torch.arange(count + added, device=device)
        chances = torch.where(faint, 0, opacities).double().cpu().numpy()
        if chances.any():
            placed = torch.cat([faint.nonzero()[:, 0], source[count:]])
            source[placed] = torch.from_numpy(rng.choice(count, len(placed), p=chances / chances.sum())).to(device)
        else:  # nothing to move to
            source = source[:count]
        copies = torch.bincount(source, minlength=count)
        splats = Splats(*(values[source] for values in splats))
        shared = copies[source] > 1
        opacity, narrowing = _shared(torch.sigmoid(splats.opacity_logits[shared]), copies[source][shared])
        splats.opacity_logits[shared] = torch.logit(opacity.clamp(FAINT, 1 - 1e-6))
        splats.log_scales[shared] += narrowing.log()[:, None]
        return splats, Rows(source, shared)

    def disturb(self, splats: Splats, means_rate: float, rng: np.random.Generator) -> None:
        """Noise in the shape of each Gaussian, for those that are faint: the opaque ones have found their place."""
        device = splats.means.device
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        noise = torch.randn(splats.means.shape, generator=generator, device=device)
        exploring = torch.sigmoid(-100 * (torch.sigmoid(splats.opacity_logits) - FAINT))
        turned = rotation_matrices(splats.quaternions) * splats.log_scales.exp()[:, None]  # R S
        covariance_noise = torch.einsum("nij,nkj,nk->ni", turned, turned, noise)
        splats.means.add_(NOISE * means_rate * exploring[:, None] * covariance_noise)


def _shared(
    opacity: Float[torch.Tensor, "n"], copies: Int[torch.Tensor, "n"]
) -> tuple[Float[torch.Tensor, "n"], Float[torch.Tensor, "n"]]:
    """The opacity of each of N coincident copies that together are as opaque as the one, o' = 1 - (1 - o)^(1/N), and
    the factor on its width that keeps the light which it stops in all:

        o / sum_{i=1}^{N} sum_{k=0}^{i-1} binomial(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1).
    """
    copies = copies.clamp(max=MOST_COPIES)
    each = 1 - (1 - opacity) ** (1 / copies)
    total = torch.zeros_like(opacity)
    for i in range(1, MOST_COPIES + 1):
        terms = [math.comb(i - 1, k) * (-1) ** k * each ** (k + 1) / math.sqrt(k + 1) for k in range(i)]
        total += torch.where(i <= copies, torch.stack(terms).sum(0), 0)
    return each, opacity / total


def _halves(splats: Splats, side: Float[torch.Tensor, "n"]) -> Splats:
    """Where `side` is 1 or -1, that half of the Gaussian along its longest axis; where 0, the Gaussian itself.

    With a half's width k s and its centre at ±sqrt(1 - k^2) s, the two together have the mean and the variance of the
    whole; with the opacity o / 2k, its mass.
    """
    index = (side != 0).nonzero()[:, 0]
    size, longest = splats.log_scales[index].exp().max(1)
    axis = rotation_matrices(splats.quaternions[index]).gather(2, longest[:, None, None].expand(-1, 3, 1))[..., 0]
    splats.means[index] += (side[index] * math.sqrt(1 - NARROWED**2) * size)[:, None] * axis
    splats.log_scales[index, longest] += math.log(NARROWED)
    opacity = torch.sigmoid(splats.opacity_logits[index]) / (2 * NARROWED)
    splats.opacity_logits[index] = torch.logit(opacity)
    return splats


def rotation_matrices(quaternions: Float[torch.Tensor, "n 4"]) -> Float[torch.Tensor, "n 3 3"]:
    """Of quaternions (w, x, y, z) of any length; columns are the turned axes."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def morton_order(points: Float[torch.Tensor, "n 3"]) -> Int[torch.Tensor, "n"]:
    """The order along a space-filling curve of 1024^3 cells: neighbours in space become neighbours in memory."""
    low, high = points.min(0).values, points.max(0).values
    cells = ((points - low) / (high - low).clamp(min=1e-12) * 1023).long()
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        cells = (cells | cells << shift) & mask
    return torch.argsort(cells[:, 0] | cells[:, 1] << 1 | cells[:, 2] << 2, stable=True)
