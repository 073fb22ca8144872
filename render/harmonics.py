"""Real spherical harmonics up to degree 3, in the order and with the signs of 3D Gaussian Splatting."""

from __future__ import annotations

from typing import Any

DC = 0.28209479177387814
"""The constant function of degree 0: a colour is 0.5 + DC times the first coefficient, and view-dependent terms."""


def harmonics(x: Any, y: Any, z: Any, degree: int) -> list[Any]:
    """The (degree + 1)^2 functions DC | -y, z, -x | xy, -yz, z^2, -xz, x^2 - y^2 | ... at unit vectors.

    The coordinates are arrays of numpy or tensors of torch; each function is orthonormal on the sphere.
    """
    xx, yy, zz = x * x, y * y, z * z
    functions = [DC + 0 * x]
    if degree > 0:
        functions += [0.4886025119029199 * f for f in (-y, z, -x)]
    if degree > 1:
        functions += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree > 2:
        functions += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return functions
