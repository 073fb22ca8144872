"""How unlike two pictures are: (1 - w) L1 + w (1 - SSIM), with its gradient.

SSIM (Wang et al. 2004) compares local statistics under a Gaussian window of 11 x 11 pixels, sigma 1.5; beyond the
border there are zeros. With m, e the windowed means of x, y and of their products,

    S = A1 A2 / (B1 B2),   A1 = 2 mx my + C1,   A2 = 2 (exy - mx my) + C2,
                           B1 = mx^2 + my^2 + C1,   B2 = (exx - mx^2) + (eyy - my^2) + C2,

and as the window is symmetric, the gradient of sum S by x is

    window*(dS/dmx) + 2 x window*(dS/dexx) + y window*(dS/dexy).

On the CPU both are made row by row, bands of rows in parallel, with no more than the 11 rows around at hand, which stay
in the cache; and only around the pixels that differ: where no window meets one, S is 1 and the gradient 0. That saves
most of the background of an object. Elsewhere torch convolves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit

from render.splats.threads import share

F = np.float32
REACH = 5  # pixels of the window to each side of its centre
BAND = 64  # rows
C1, C2 = F(0.01**2), F(0.03**2)
TAPS = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2 * 1.5**2))
TAPS = (TAPS / TAPS.sum()).astype(np.float32)


def photometric_loss(
    rendered: Float[torch.Tensor, "h w 3"], target: Float[torch.Tensor, "h w 3"], ssim_weight: float = 0.2
) -> Float[torch.Tensor, ""]:
    """(1 - w) mean |x - y| + w (1 - mean SSIM) of a rendered picture x and what it should be."""
    if rendered.is_cpu:
        return _OnCpu.apply(rendered, target, ssim_weight)  # type: ignore[return-value]
    ssim = ssim_map(rendered, target).mean()
    return (1 - ssim_weight) * (rendered - target).abs().mean() + ssim_weight * (1 - ssim)


def ssim_map(x: Float[torch.Tensor, "h w 3"], y: Float[torch.Tensor, "h w 3"]) -> Float[torch.Tensor, "h w 3"]:
    """The structural similarity at each pixel and channel, at most 1."""
    maps = torch.cat([x, y, x * x, x * y, y * y], -1).movedim(-1, 0).contiguous()
    taps = torch.exp(-(torch.arange(-REACH, REACH + 1, dtype=x.dtype, device=x.device) ** 2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).repeat(15, 1)
    # each channel for itself, laid out one by one: then torch convolves on CUDA with kernels of its own, in float32;
    # cuDNN rounds to TF32, and of the variances, which are differences, little is left
    across = torch.nn.functional.conv2d(maps, taps[:, None, None], padding=(0, REACH), groups=15)
    down = torch.nn.functional.conv2d(across, taps[:, None, :, None], padding=(REACH, 0), groups=15)
    mx, my, exx, exy, eyy = down.movedim(0, -1).split(3, -1)
    a1, a2 = 2 * mx * my + float(C1), 2 * (exy - mx * my) + float(C2)
    b1, b2 = mx**2 + my**2 + float(C1), exx - mx**2 + eyy - my**2 + float(C2)
    return a1 * a2 / (b1 * b2)


class _OnCpu(torch.autograd.Function):
    """The loss and its gradient in one go, by the kernel."""

    @staticmethod
    def forward(ctx: Any, rendered: torch.Tensor, target: torch.Tensor, ssim_weight: float) -> torch.Tensor:
        height, width, _ = rendered.shape
        x, y = (tensor.detach().contiguous().numpy() for tensor in (rendered, target))
        rows, columns = _around_differences(x, y)
        x, y = x.reshape(height, 3 * width), y.reshape(height, 3 * width)
        gradient, size = np.zeros_like(x), x.size
        bands = -(-len(x[rows]) // BAND)
        similar, different = np.zeros((2, bands))
        area = x[rows], y[rows], 3 * columns.start, 3 * columns.stop
        scaled = F(ssim_weight), F(1 / size), TAPS, gradient[rows]
        share(_sums_and_gradient, bands, *area, *scaled, similar, different)
        unlike = len(x[rows]) * 3 * (columns.stop - columns.start) - similar.sum()
        ctx.save_for_backward(torch.from_numpy(gradient).reshape(height, width, 3))
        return rendered.new_tensor(((1 - ssim_weight) * different.sum() + ssim_weight * unlike) / size)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.saved_tensors[0] * outer[0], None, None


def _around_differences(x: Float[np.ndarray, "h w 3"], y: Float[np.ndarray, "h w 3"]) -> tuple[slice, slice]:
    """The rows and columns with all pixels that differ, their windows and the windows of those."""
    differ = x != y
    rows, columns = np.flatnonzero(differ.any((1, 2))), np.flatnonzero(differ.any(0).any(1))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    margin = 2 * REACH
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    return slice(top, int(rows[-1]) + margin + 1), slice(left, min(x.shape[1], int(columns[-1]) + margin + 1))


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
def _down(ring, middle, taps, blurred):
    """Convolves 11 rows into the one in their middle; row r of the picture stands in `ring[r % 11]`."""
    w = np.empty(11, np.float32)
    for k in range(11):
        w[(middle + k + 6) % 11] = taps[k]  # row middle - 5 + k
    for i in range(blurred.shape[0]):
        blurred[i] = (
            w[0] * ring[0, i] + w[1] * ring[1, i] + w[2] * ring[2, i] + w[3] * ring[3, i] + w[4] * ring[4, i]
            + w[5] * ring[5, i] + w[6] * ring[6, i] + w[7] * ring[7, i] + w[8] * ring[8, i] + w[9] * ring[9, i]
            + w[10] * ring[10, i]
        )  # fmt: skip


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


@njit(fastmath=True, error_model="numpy", cache=True)
def _band(x, y, left, right, first, last, w, scale, taps, gradient):
    """The gradient in rows first to last - 1 and columns left to right - 1, and their sums of S and |x - y|.

    Row r is taken in; with it the moments of row r - 5 are known, and with its derivatives the gradient of row r - 10.
    """
    height, length = len(x), right - left
    moments, derivatives = np.zeros((5, 11, length), np.float32), np.zeros((3, 11, length), np.float32)
    products = np.zeros((5, length + 6 * REACH), np.float32)
    slopes = np.zeros((3, length + 6 * REACH), np.float32)
    rows = np.empty((5, length), np.float32)
    similar, different = 0.0, 0.0
    for r in range(first - 2 * REACH, last + 2 * REACH):
        if 0 <= r < height:
            _products(x[r, left:right], y[r, left:right], products)
            for k in range(5):
                _across(products[k], taps, moments[k, r % 11])
        else:
            moments[:, r % 11] = F(0)
        middle = r - REACH
        if middle < first - REACH:
            continue
        if 0 <= middle < height:
            for k in range(5):
                _down(moments[k], middle, taps, rows[k])
            s = _similarity(rows, slopes)
            similar += s if first <= middle < last else 0.0
            for k in range(3):
                _across(slopes[k], taps, derivatives[k, middle % 11])
        else:
            derivatives[:, middle % 11] = F(0)
        done = middle - REACH
        if done >= first:
            for k in range(3):
                _down(derivatives[k], done, taps, rows[k])
            across = slice(left, right)
            different += _combine(x[done, across], y[done, across], rows, w, scale, gradient[done, across])
    return similar, different


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _sums_and_gradient(first_band, end, x, y, left, right, w, scale, taps, gradient, similar, different):
    """For each of the bands first_band to end - 1, the sums of S and |x - y| in columns left to right - 1; `gradient`
    takes `scale` times the derivative of (1 - w) |x - y| - w S by x."""
    for band in range(first_band, end):
        first, last = band * BAND, min(len(x), (band + 1) * BAND)
        similar[band], different[band] = _band(x, y, left, right, first, last, w, scale, taps, gradient)
