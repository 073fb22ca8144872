"""Real spherical harmonics up to degree 3, in the order and with the signs of 3D Gaussian Splatting."""

from __future__ import annotations

import numpy as np

from render.splats.compilation import CAREFUL, kernel

F = np.float32

# The constants before the polynomials of each degree.
SH0, SH1 = F(0.28209479177387814), F(0.4886025119029199)
SH2_XY, SH2_ZZ, SH2_XX = (
    F(1.0925484305920792),
    F(0.31539156525252005),
    F(0.5462742152960396),
)
SH3_A, SH3_B, SH3_C = F(0.5900435899266435), F(2.890611442640554), F(0.4570457994644658)
SH3_D, SH3_E = F(0.3731763325901154), F(1.445305721320277)


@kernel(fastmath=CAREFUL)
def fill_basis(x, y, z, degree, basis):
    """`basis` at the unit vector (x, y, z)."""
    basis[0] = SH0
    if degree > 0:
        basis[1], basis[2], basis[3] = -SH1 * y, SH1 * z, -SH1 * x
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        basis[4], basis[5], basis[7] = SH2_XY * x * y, -SH2_XY * y * z, -SH2_XY * x * z
        basis[6], basis[8] = SH2_ZZ * (F(2) * zz - xx - yy), SH2_XX * (xx - yy)
        if degree > 2:
            basis[9], basis[15] = (
                -SH3_A * y * (F(3) * xx - yy),
                -SH3_A * x * (xx - F(3) * yy),
            )
            basis[10], basis[14] = SH3_B * x * y * z, SH3_E * z * (xx - yy)
            basis[11], basis[13] = (
                -SH3_C * y * (F(4) * zz - xx - yy),
                -SH3_C * x * (F(4) * zz - xx - yy),
            )
            basis[12] = SH3_D * z * (F(2) * zz - F(3) * xx - F(3) * yy)


@kernel(fastmath=CAREFUL)
def basis_gradient(x, y, z, degree, g):
    """The gradient to (x, y, z) of sum_k g_k basis_k(x, y, z)."""
    gx, gy, gz = -SH1 * g[3], -SH1 * g[1], SH1 * g[2]
    if degree > 1:
        gx += SH2_XY * (y * g[4] - z * g[7]) - F(2) * x * (SH2_ZZ * g[6] - SH2_XX * g[8])
        gy += SH2_XY * (x * g[4] - z * g[5]) - F(2) * y * (SH2_ZZ * g[6] + SH2_XX * g[8])
        gz += -SH2_XY * (y * g[5] + x * g[7]) + F(4) * SH2_ZZ * z * g[6]
    if degree > 2:
        xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
        a, b, c, d, e = SH3_A, SH3_B, SH3_C, SH3_D, SH3_E
        gx += F(6) * xy * (a * -g[9]) + b * yz * g[10] + F(2) * c * xy * g[11] - F(6) * d * xz * g[12]
        gx += F(2) * e * xz * g[14] - c * (F(4) * zz - F(3) * xx - yy) * g[13] - F(3) * a * (xx - yy) * g[15]
        gy += F(6) * xy * (a * g[15]) + b * xz * g[10] + F(2) * c * xy * g[13] - F(6) * d * yz * g[12]
        gy -= F(2) * e * yz * g[14] + c * (F(4) * zz - xx - F(3) * yy) * g[11] + F(3) * a * (xx - yy) * g[9]
        gz += b * xy * g[10] - F(8) * c * (yz * g[11] + xz * g[13]) + e * (xx - yy) * g[14]
        gz += F(3) * d * (F(2) * zz - xx - yy) * g[12]
    return gx, gy, gz
