"""How unlike two pictures are: (1 - w) L1 + w (1 - SSIM), with its gradient.

SSIM (Wang et al. 2004) compares local statistics under a Gaussian window of 11 x 11 pixels, sigma 1.5; beyond the
border there are zeros. With m, e the windowed means of x, y and of their products,

    S = A1 A2 / (B1 B2),   A1 = 2 mx my + C1,   A2 = 2 (exy - mx my) + C2,
                           B1 = mx^2 + my^2 + C1,   B2 = (exx - mx^2) + (eyy - my^2) + C2,

and as the window is symmetric, the gradient of sum S by x is

    window*(dS/dmx) + 2 x window*(dS/dexx) + y window*(dS/dexy).

On the CPU both are made row by row in three passes, so that all but the blurred rows stay in the cache; elsewhere
torch convolves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit, prange

F = np.float32
REACH = 5  # pixels of the window to each side of its centre
C1, C2 = F(0.01**2), F(0.03**2)
TAPS = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2 * 1.5**2))
TAPS = (TAPS / TAPS.sum()).astype(np.float32)


def photometric_loss(
    rendered: Float[torch.Tensor, "h w 3"], target: Float[torch.Tensor, "h w 3"], ssim_weight: float = 0.2
) -> Float[torch.Tensor, ""]:
    """(1 - w) mean |x - y| + w (1 - mean SSIM) of a rendered picture x and what it should be."""
    if rendered.is_cuda:
        ssim = ssim_map(rendered, target).mean()
        return (1 - ssim_weight) * (rendered - target).abs().mean() + ssim_weight * (1 - ssim)
    return _OnCpu.apply(rendered, target, ssim_weight)  # type: ignore[return-value]


def ssim_map(x: Float[torch.Tensor, "h w 3"], y: Float[torch.Tensor, "h w 3"]) -> Float[torch.Tensor, "h w 3"]:
    """The structural similarity at each pixel and channel, at most 1."""
    x, y = x.movedim(-1, 0)[:, None], y.movedim(-1, 0)[:, None]
    taps = torch.as_tensor(TAPS, dtype=x.dtype, device=x.device)

    def windowed(values: torch.Tensor) -> torch.Tensor:
        across = torch.nn.functional.conv2d(values, taps[None, None, None], padding=(0, REACH))
        return torch.nn.functional.conv2d(across, taps[None, None, :, None], padding=(REACH, 0))

    mx, my, exx, exy, eyy = (windowed(values) for values in (x, y, x * x, x * y, y * y))
    a1, a2 = 2 * mx * my + float(C1), 2 * (exy - mx * my) + float(C2)
    b1, b2 = mx**2 + my**2 + float(C1), exx - mx**2 + eyy - my**2 + float(C2)
    return (a1 * a2 / (b1 * b2))[:, 0].movedim(0, -1)


class _OnCpu(torch.autograd.Function):
    """The loss and its gradient in one go, by the kernel."""

    @staticmethod
    def forward(ctx: Any, rendered: torch.Tensor, target: torch.Tensor, ssim_weight: float) -> torch.Tensor:
        height, width, _ = rendered.shape
        x = rendered.detach().contiguous().numpy().reshape(height, 3 * width)
        y = target.contiguous().numpy().reshape(height, 3 * width)
        gradient = np.empty_like(x)
        loss = _loss_and_gradient(x, y, F(ssim_weight), TAPS, gradient)
        ctx.save_for_backward(torch.from_numpy(gradient).reshape(height, width, 3))
        return rendered.new_tensor(loss)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.saved_tensors[0] * outer[0], None, None


@njit(fastmath=True, error_model="numpy", cache=True)
def _across(padded, taps, blurred):
    """Convolves one row of RGB pixels, which has REACH pixels of zeros at each end."""
    for i in range(blurred.shape[0]):
        p = np.uint64(i)
        blurred[p] = (
            taps[0] * (padded[p] + padded[p + np.uint64(30)])
            + taps[1] * (padded[p + np.uint64(3)] + padded[p + np.uint64(27)])
            + taps[2] * (padded[p + np.uint64(6)] + padded[p + np.uint64(24)])
            + taps[3] * (padded[p + np.uint64(9)] + padded[p + np.uint64(21)])
            + taps[4] * (padded[p + np.uint64(12)] + padded[p + np.uint64(18)])
            + taps[5] * padded[p + np.uint64(15)]
        )


@njit(fastmath=True, error_model="numpy", cache=True)
def _down(rows, taps, blurred):
    """Convolves 11 rows into the one in their middle."""
    for i in range(blurred.shape[0]):
        blurred[i] = (
            taps[0] * (rows[0, i] + rows[10, i])
            + taps[1] * (rows[1, i] + rows[9, i])
            + taps[2] * (rows[2, i] + rows[8, i])
            + taps[3] * (rows[3, i] + rows[7, i])
            + taps[4] * (rows[4, i] + rows[6, i])
            + taps[5] * rows[5, i]
        )


@njit(fastmath=True, error_model="numpy", cache=True)
def _products(x, y, p):
    """x, y, x^2, x y and y^2 of one row, between zeros."""
    for i in range(x.shape[0]):
        a, b = x[i], y[i]
        p[0, 15 + i], p[1, 15 + i], p[2, 15 + i], p[3, 15 + i], p[4, 15 + i] = a, b, a * a, a * b, b * b


@njit(fastmath=True, error_model="numpy", cache=True)
def _similarity(m, d):
    """Turns one row of the five moments into dS/dmx, dS/dexx, dS/dexy between zeros; gives the row's sum of S."""
    total = F(0)
    for i in range(m.shape[1]):
        mx, my = m[0, i], m[1, i]
        a1, a2 = F(2) * mx * my + C1, F(2) * (m[3, i] - mx * my) + C2
        b1, b2 = mx * mx + my * my + C1, m[2, i] - mx * mx + m[4, i] - my * my + C2
        inverse = F(1) / (b1 * b2)
        s = a1 * a2 * inverse
        by_exx, by_exy = -s / b2, F(2) * a1 * inverse
        total += s
        d[0, 15 + i] = F(2) * (my * a2 * inverse - mx * s / b1 - by_exx * mx) - by_exy * my
        d[1, 15 + i] = by_exx
        d[2, 15 + i] = by_exy
    return total


@njit(fastmath=True, error_model="numpy", cache=True)
def _combine(x, y, d, w, scale, gradient):
    """One row of the loss's gradient from the blurred derivatives; gives the row's sum of |x - y|."""
    total = F(0)
    for i in range(x.shape[0]):
        difference = x[i] - y[i]
        total += abs(difference)
        sign = F(1) if difference > F(0) else (F(-1) if difference < F(0) else F(0))
        gradient[i] = scale * ((F(1) - w) * sign - w * (d[0, i] + F(2) * x[i] * d[1, i] + y[i] * d[2, i]))
    return total


@njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def _loss_and_gradient(x, y, w, taps, gradient):
    """The loss; `gradient` takes its derivative by x. Rows are summed one by one: threads change nothing."""
    height, length = x.shape
    moments = np.zeros((5, height + 2 * REACH, length), np.float32)
    derivatives = np.zeros((3, height + 2 * REACH, length), np.float32)
    similar, different = np.empty(height, np.float64), np.empty(height, np.float64)
    for r in prange(height):
        padded = np.zeros((5, length + 6 * REACH), np.float32)
        _products(x[r], y[r], padded)
        for k in range(5):
            _across(padded[k], taps, moments[k, r + REACH])
    for r in prange(height):
        rows = np.empty((5, length), np.float32)
        padded = np.zeros((3, length + 6 * REACH), np.float32)
        for k in range(5):
            _down(moments[k, r : r + 11], taps, rows[k])
        similar[r] = _similarity(rows, padded)
        for k in range(3):
            _across(padded[k], taps, derivatives[k, r + REACH])
    for r in prange(height):
        rows = np.empty((3, length), np.float32)
        for k in range(3):
            _down(derivatives[k, r : r + 11], taps, rows[k])
        different[r] = _combine(x[r], y[r], rows, w, F(1) / F(height * length), gradient[r])
    count = height * length
    return (1 - w) * different.sum() / count + w * (1 - similar.sum() / count)
