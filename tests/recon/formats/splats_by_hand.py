"""Gaussians whose numbers the tests know, and comparisons that mind that q and -q are one rotation."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from recon.gaussians.model import Gaussians


def sample(count: int = 200, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians well inside of what every format can hold: harmonics within 0.9, scales from e^-8 to e^-1."""
    rng = np.random.default_rng(seed)
    sh = rng.uniform(-0.9, 0.9, (count, (degree + 1) ** 2, 3))
    sh[:, 0] = rng.uniform(-1.7, 1.7, (count, 3))  # colours from 0.02 to 0.98
    return Gaussians(
        means=rng.uniform(-3, 3, (count, 3)).astype(np.float32),
        log_scales=rng.uniform(-8, -1, (count, 3)).astype(np.float32),
        quaternions=(rng.normal(size=(count, 4)) * rng.uniform(0.5, 2, (count, 1))).astype(np.float32),
        opacity_logits=rng.uniform(-4, 4, count).astype(np.float32),
        sh=sh.astype(np.float32),
    )


def matched(found: Gaussians, to: Gaussians) -> Gaussians:
    """The found Gaussians in the order of the others, each taken for the one with the nearest centre."""
    distances, index = cKDTree(found.means).query(to.means)
    assert len(found) == len(to) and len(np.unique(index)) == len(to), distances.max()
    return found.subset(index)


def component_errors(found: np.ndarray, of: np.ndarray) -> np.ndarray:
    """|q - q'| by component for the nearer of q and -q, all at unit length."""
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    of = of / np.linalg.norm(of, axis=1, keepdims=True)
    opposite = (found * of).sum(axis=1, keepdims=True) < 0
    return np.abs(np.where(opposite, -found, found) - of)
