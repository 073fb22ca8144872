"""Cleaning of Gaussians: each mask against what it must keep by construction."""

from dataclasses import replace

import numpy as np
import pytest

from recon.errors import UserError
from recon.gaussians.cleaning import SplatCleaning, in_large_pieces, is_finite, kept, pieces
from recon.gaussians.model import Gaussians
from recon.scene import Frame


def balls(centers: np.ndarray, sigma: float | np.ndarray = 0.05, opacity: float = 0.9) -> Gaussians:
    """Gaussians without a direction at these places."""
    count = len(centers)
    scales = np.broadcast_to(np.asarray(sigma, np.float32), (count, 3))
    return Gaussians(
        means=np.asarray(centers, np.float32),
        log_scales=np.log(scales),
        quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        opacity_logits=np.full(count, np.log(opacity / (1 - opacity)), np.float32),
        sh=np.zeros((count, 1, 3), np.float32),
    )


def lattice(side: int, step: float, corner: float = 0.0) -> np.ndarray:
    return corner + step * np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)


def test_floaters_are_dropped_and_the_object_stays_whole():
    body, floater, lone = lattice(6, 0.1), lattice(2, 0.1, corner=5.0), np.array([[9.0, 9.0, 9.0]])
    gaussians = balls(np.concatenate([body, floater, lone]))
    keep = in_large_pieces(gaussians, 0.1)
    assert keep[: len(body)].all() and not keep[len(body) :].any()
    assert in_large_pieces(gaussians, 8 / 216)[: len(body) + 8].all()  # the floater of 8 is just large enough
    assert len(np.unique(pieces(gaussians))) == 3


def test_gaussians_hang_together_along_their_long_axes_only():
    needles = balls(np.array([[0, 0, 0], [1, 0, 0]]), sigma=np.array([0.3, 0.01, 0.01]))
    assert len(np.unique(pieces(needles))) == 1
    beside = balls(np.array([[0, 0, 0], [0, 1, 0]]), sigma=np.array([0.3, 0.01, 0.01]))
    assert len(np.unique(pieces(beside))) == 2
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert len(np.unique(pieces(needles.transformed(1.0, turn, np.zeros(3))))) == 1


def test_haze_makes_no_bridge():
    line = np.stack([np.linspace(0, 1, 11), np.zeros(11), np.zeros(11)], axis=1)
    solid = balls(line, opacity=0.9)
    assert len(np.unique(pieces(solid))) == 1
    hazy = replace(solid, opacity_logits=np.where(np.arange(11) % 10 == 0, 2.0, -6.0).astype(np.float32))
    assert pieces(hazy)[0] != pieces(hazy)[10]


def test_the_box_and_the_size_are_the_users():
    gaussians = balls(np.array([[0, 0, 0], [1, 0, 0]]), sigma=np.array([[0.1], [0.2]]))
    frame = Frame(scale=10.0, translation=np.array([500000.0, 0, 0]))
    box = SplatCleaning(crop="500005,-1,-1,500015,1,1")
    assert kept(gaussians, box, frame).tolist() == [False, True]
    assert kept(gaussians, SplatCleaning(max_size=1.5), frame).tolist() == [True, False]
    assert kept(gaussians, SplatCleaning(max_size=1.5)).tolist() == [True, True]


def test_steps_follow_each_other():
    body, far = lattice(4, 0.1), lattice(5, 0.1, corner=5.0)
    gaussians = balls(np.concatenate([body, far]))
    faint = np.arange(len(gaussians)) >= len(body) + 4  # of the far piece, the larger one, only four are opaque
    gaussians = replace(gaussians, opacity_logits=np.where(faint, -5, 2).astype(np.float32))
    keep = kept(gaussians, SplatCleaning(min_opacity=0.1, drop_floaters=0.5))
    assert keep[: len(body)].all() and not keep[len(body) :].any()


def test_what_is_not_finite_is_found():
    gaussians = balls(np.zeros((8, 3)))
    means, scales, turns = gaussians.means.copy(), gaussians.log_scales.copy(), gaussians.quaternions.copy()
    logits, sh = gaussians.opacity_logits.copy(), gaussians.sh.copy()
    means[1, 0], means[2, 1], scales[3, 2], turns[4], logits[5], sh[6, 0, 1] = np.nan, 1e30, 200, 0, np.inf, -np.inf
    broken = Gaussians(means, scales, turns, logits, sh)
    assert is_finite(broken).tolist() == [True, False, False, False, False, False, False, True]


@pytest.mark.parametrize("box", ["1,2,3", "0,0,0,0,1,1", "a,b,c,d,e,f"])
def test_a_malformed_box_is_named(box):
    with pytest.raises(UserError, match="--crop"):
        kept(balls(np.zeros((1, 3))), SplatCleaning(crop=box))


def test_one_gaussian_is_a_piece():
    assert kept(balls(np.zeros((1, 3))), SplatCleaning(drop_floaters=0.5)).tolist() == [True]
