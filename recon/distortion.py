"""Lenses that bend straight lines, and the pinhole pictures that are made of theirs.

A ray (x, y, 1) in camera coordinates meets the picture at `intrinsics @ (x'', y'', 1)`:

    (x', y')   = g (x, y)                     the projection: perspective g = 1, equidistant g = atan(r) / r, ...
    (x'', y'') = (x', y') c + (dx, dy)        Brown's polynomials of rho^2 = x'^2 + y'^2:
        c  = (1 + k1 rho^2 + k2 rho^4 + ...) / (1 + d1 rho^2 + d2 rho^4 + ...)
        dx = 2 p1 x'y' + p2 (rho^2 + 2 x'^2) + s1 rho^2 + s2 rho^4
        dy = 2 p2 x'y' + p1 (rho^2 + 2 y'^2) + s3 rho^2 + s4 rho^4

as OpenCV names them; with them the models of COLMAP, nerfstudio, OpenSfM and Metashape can be written. Pixel centres
are at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from numba import njit

STEEPEST = np.radians(65.0)  # from the forward axis: beyond it a pinhole picture wastes its pixels
DIRECTIONS = 360
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Lens:
    """How a camera bends rays onto its `width` by `height` pixels.

    `intrinsics` may have skew. `projection` is perspective, equidistant, fov, division or eucm, `shape` the parameters
    of that projection. With `radial_first`, dx and dy are computed from the coordinates that c has been applied to.
    """

    width: int
    height: int
    intrinsics: Float64[np.ndarray, "3 3"]
    projection: str = "perspective"
    shape: tuple[float, ...] = ()
    radial: tuple[float, ...] = ()
    radial_divisor: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    thin_prism: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    radial_first: bool = False

    @property
    def is_pinhole(self) -> bool:
        """Whether it sees straight lines as straight ones, with rows and columns at right angles."""
        bends = (*self.radial, *self.radial_divisor, *self.tangential, *self.thin_prism)
        return self.projection == "perspective" and not any(bends) and abs(self.intrinsics[0, 1]) < 1e-9

    def resized(self, width: int, height: int) -> Lens:
        """The same lens on another number of pixels."""
        factors = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, width=width, height=height, intrinsics=factors @ self.intrinsics)

    def project(
        self, x: Float[np.ndarray, "*n"], y: Float[np.ndarray, "*n"]
    ) -> tuple[Float64[np.ndarray, "*n"], Float64[np.ndarray, "*n"]]:
        """Pixel positions of the rays (x, y, 1)."""
        g = _projection_factor(self, x * x + y * y)
        x, y = _bent(self, g * x, g * y)
        (fx, skew, cx), (_, fy, cy) = self.intrinsics[:2]
        return fx * x + skew * y + cx, fy * y + cy


def pinhole(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> Lens:
    """A lens that bends nothing."""
    return Lens(width, height, np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]))


def straightened(lens: Lens) -> Lens:
    """The pinhole lens of the same centre and focal length whose picture is seen whole by `lens`.

    Its picture is about the largest upright rectangle without blank pixels, no ray farther than `STEEPEST` from the
    forward axis, and has no more pixels than that of `lens`.

    Raises:
        ValueError: the forward axis is not in the picture, or next to nothing is seen undistorted.
    """
    if lens.is_pinhole:
        return lens
    cosines, sines, radii, sides = _seen_boundary(lens)
    left, right, top, bottom = _inner_rectangle(cosines, sines, radii, sides)
    fx, fy = float(lens.intrinsics[0, 0]), float(lens.intrinsics[1, 1])
    pixels = fx * (right - left) * fy * (bottom - top)
    fit = min(1.0, np.sqrt(lens.width * lens.height / pixels))
    width, height = int(fx * fit * (right - left)), int(fy * fit * (bottom - top))
    if min(width, height) < 2:
        raise ValueError("next to nothing of the picture can be seen without distortion")
    return pinhole(width, height, fx * fit, fy * fit, -left * fx * fit, -top * fy * fit)


def resample(
    picture: Shaped[np.ndarray, "h w *c"], lens: Lens, to: Lens, nearest: bool = False
) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """The picture that the pinhole lens `to` takes of what `lens` saw: bilinear, or the nearest pixel's value.

    8-bit pictures of four channels hold straight alpha: colours are weighed by it. Where both lenses are one, as of
    pinholes that `straightened` has nothing to do for, the picture is given as it is.
    """
    if to is lens:
        return picture
    out = np.empty((to.height, to.width, *picture.shape[2:]), picture.dtype)
    x = (np.arange(to.width) + 0.5 - to.intrinsics[0, 2]) / to.intrinsics[0, 0]
    y = (np.arange(to.height) + 0.5 - to.intrinsics[1, 2]) / to.intrinsics[1, 1]
    for start in range(0, to.height, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        u, v = lens.project(*np.broadcast_arrays(x[None, :], y[rows, None]))
        if nearest:
            column, row = (np.floor(np.nan_to_num(a)).astype(np.int64) for a in (u, v))
            out[rows] = picture[row.clip(0, picture.shape[0] - 1), column.clip(0, picture.shape[1] - 1)]
        else:
            _interpolate(picture, u, v, out[rows])
    return out


def _projection_factor(lens: Lens, r2: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """g of the ray (x, y, 1) with r^2 = x^2 + y^2."""
    if lens.projection == "perspective":
        return np.ones_like(r2)
    r = np.sqrt(np.maximum(r2, 1e-24))
    if lens.projection == "equidistant":
        return np.arctan(r) / r
    if lens.projection == "fov":  # Devernay, Faugeras 2001
        (omega,) = lens.shape
        return np.arctan(2 * r * np.tan(omega / 2)) / (r * omega) if abs(omega) > 1e-6 else np.ones_like(r2)
    if lens.projection == "division":  # Fitzgibbon 2001: r = r' / (1 + k r'^2), solved for r'
        (k,) = lens.shape
        inside = 1 - 4 * k * r2
        return np.where(inside >= 0, 2 / (1 + np.sqrt(np.maximum(inside, 0))), np.nan)
    if lens.projection == "eucm":  # Khomutenko, Garcia, Martinet 2016
        alpha, beta = lens.shape
        return 1 / (alpha * np.sqrt(beta * r2 + 1) + 1 - alpha)
    raise ValueError(f"there is no projection {lens.projection}")


def _bent(
    lens: Lens, x: Float[np.ndarray, "*n"], y: Float[np.ndarray, "*n"]
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Brown's polynomials."""
    rho2 = x * x + y * y
    c = (1 + rho2 * _polynomial(lens.radial, rho2)) / (1 + rho2 * _polynomial(lens.radial_divisor, rho2))
    if lens.radial_first:
        x, y, c = x * c, y * c, np.ones_like(c)
        rho2 = x * x + y * y
    (p1, p2), (s1, s2, s3, s4) = lens.tangential, lens.thin_prism
    dx = 2 * p1 * x * y + p2 * (rho2 + 2 * x * x) + rho2 * (s1 + s2 * rho2)
    dy = 2 * p2 * x * y + p1 * (rho2 + 2 * y * y) + rho2 * (s3 + s4 * rho2)
    return c * x + dx, c * y + dy


def _polynomial(coefficients: tuple[float, ...], t: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """a0 + a1 t + a2 t^2 + ..."""
    total = np.zeros_like(t)
    for coefficient in reversed(coefficients):
        total = total * t + coefficient
    return total


def _seen_boundary(
    lens: Lens,
) -> tuple[Float64[np.ndarray, "d"], Float64[np.ndarray, "d"], Float64[np.ndarray, "d"], Shaped[np.ndarray, "d"]]:
    """How far from the forward axis the lens sees, in `DIRECTIONS` directions around it.

    Gives the directions' cosines and sines, the radius sqrt(x^2 + y^2) of the last ray that is in the picture and that
    the lens has not folded back, and the side of the picture that the ray leaves by: "l", "r", "t", "b", or "" where
    the lens folds or `STEEPEST` is met. Walked in steps of angle, then halved.
    """
    around = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    cosines, sines = np.cos(around), np.sin(around)
    angles = np.linspace(0, STEEPEST, 100)[1:]
    sound = _sound(lens, cosines[:, None], sines[:, None], angles[None, :])
    steps = np.where(sound.all(1), len(angles), sound.argmin(1))  # the first step that leaves
    if (steps == 0).any():
        raise ValueError("the forward axis of the camera does not lie in its picture")
    inner = angles[steps - 1]
    outer = angles[np.minimum(steps, len(angles) - 1)]
    for _ in range(30):
        middle = (inner + outer) / 2
        stays = _sound(lens, cosines, sines, middle)
        inner, outer = np.where(stays, middle, inner), np.where(stays, outer, middle)
    u, v = lens.project(np.tan(outer) * cosines, np.tan(outer) * sines)
    beyond = np.stack([-u, u - lens.width, -v, v - lens.height])
    folded = ~(beyond.max(0) > 0) | (steps == len(angles))
    sides = np.where(folded, "", np.array(list("lrtb"))[np.nan_to_num(beyond).argmax(0)])
    return cosines, sines, np.tan(inner), sides


def _sound(
    lens: Lens,
    cosines: Float64[np.ndarray, "..."],
    sines: Float64[np.ndarray, "..."],
    angle: Float64[np.ndarray, "..."],
) -> Bool[np.ndarray, "..."]:
    """Whether rays at these angles land in the picture, farther out than rays a little nearer to the axis."""
    r, nearer = np.tan(angle), np.tan(angle * (1 - 1e-4))
    with np.errstate(all="ignore"):
        u, v = lens.project(r * cosines, r * sines)
        u0, v0 = lens.project(nearer * cosines, nearer * sines)
        cx, cy = lens.intrinsics[:2, 2]
        outward = (u - u0) * (u - cx) + (v - v0) * (v - cy) > 0
        return outward & (u >= 0) & (u <= lens.width) & (v >= 0) & (v <= lens.height)


def _inner_rectangle(
    cosines: Float64[np.ndarray, "d"],
    sines: Float64[np.ndarray, "d"],
    radii: Float64[np.ndarray, "d"],
    sides: Shaped[np.ndarray, "d"],
) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a rectangle around the axis within the star-shaped boundary: its sides touch the
    images of the picture's sides, and where these do not decide it shrinks until it fits."""
    x, y = radii * cosines, radii * sines
    box = np.array([x.min(), x.max(), y.min(), y.max()])
    for index, (side, values, innermost) in enumerate((("l", x, max), ("r", x, min), ("t", y, max), ("b", y, min))):
        if (sides == side).any():
            box[index] = innermost(values[sides == side])
    left, right, top, bottom = box
    with np.errstate(divide="ignore", invalid="ignore"):
        across = np.where(cosines < 0, left / cosines, right / cosines)
        down = np.where(sines < 0, top / sines, bottom / sines)
    exits = np.minimum(np.where(np.abs(cosines) < 1e-12, np.inf, across), np.where(np.abs(sines) < 1e-12, np.inf, down))
    shrink = min(1.0, float((radii / exits).min()))
    return left * shrink, right * shrink, top * shrink, bottom * shrink


def _interpolate(
    picture: Shaped[np.ndarray, "h w *c"], u: Float[np.ndarray, "h2 w2"], v: Float[np.ndarray, "h2 w2"], out: np.ndarray
) -> None:
    """Fills `out` with the picture's bilinear values at pixel positions (u, v)."""
    _bilinear(picture.reshape(*picture.shape[:2], -1), u, v, out.reshape(*out.shape[:2], -1))


@njit(cache=True)
def _bilinear(picture, u, v, out):
    """Bilinear values, clamped to the border; of four channels the last is alpha, by which the others are weighed."""
    rows, columns, channels = picture.shape
    weights = np.empty(4)
    for i in range(u.shape[0]):
        for j in range(u.shape[1]):
            a = min(max(u[i, j] - 0.5, 0.0), columns - 1.0)
            b = min(max(v[i, j] - 0.5, 0.0), rows - 1.0)
            left, top = int(a), int(b)
            right, low = min(left + 1, columns - 1), min(top + 1, rows - 1)
            a -= left
            b -= top
            weights[0], weights[1] = (1 - a) * (1 - b), a * (1 - b)
            weights[2], weights[3] = (1 - a) * b, a * b
            total = 1.0
            if channels == 4:
                weights[0] *= picture[top, left, 3]
                weights[1] *= picture[top, right, 3]
                weights[2] *= picture[low, left, 3]
                weights[3] *= picture[low, right, 3]
                total = weights.sum()
                out[i, j, 3] = int(total + 0.5)
            for c in range(3 if channels == 4 else channels):
                value = 0.0
                if total > 0:
                    value = (
                        weights[0] * picture[top, left, c]
                        + weights[1] * picture[top, right, c]
                        + weights[2] * picture[low, left, c]
                        + weights[3] * picture[low, right, c]
                    ) / total
                out[i, j, c] = int(value + 0.5)
