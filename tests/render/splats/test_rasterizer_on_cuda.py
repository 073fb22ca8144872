"""Splats by gsplat: our path to its kernels, with gsplat's own torch functions in their place where there is no CUDA.

The stand-ins are called and answer as the kernels do: the same shapes and types, contiguous inputs where the kernels
want them, and not-a-number wherever the kernels leave memory as they found it.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("gsplat")

from gsplat.cuda import _torch_impl, _wrapper

from render.splats import Rendering, Splats, cuda, rasterize
from render.splats.cpu import rasterize_on_cpu
from render.splats.reference import rasterize_slowly
from tests.render.splats.test_rasterizer import HEIGHT, INTRINSICS, NAMES, OUTPUTS, VIEW, WIDTH, _rendered, _splats

FIRST, LAST = 1 / 255, 1e-4  # the least alpha that counts, the transmittance at which a pixel is done


def _projected(means, covars, quats, scales, viewmats, Ks, width, height, calc_compensations, opacities):
    """`fully_fused_projection`, which knows opacities as well."""
    assert covars is None and opacities.shape == means.shape[:1] == scales.shape[:1] == quats.shape[:1]
    covariances, _ = _torch_impl._quat_scale_to_covar_preci(quats, scales, True, False)
    radii, centers, depths, conics, compensations = _torch_impl._fully_fused_projection(
        means, covariances, viewmats, Ks, width, height, calc_compensations=calc_compensations
    )
    remaining = opacities if compensations is None else opacities * compensations
    gone = (radii == 0).any(-1) | (remaining < FIRST)
    unset = torch.where(gone, torch.nan, 0.0)[..., None]
    radii = torch.where(gone[..., None], 0, radii)
    if compensations is not None:
        compensations = torch.where(gone, 0, compensations)
    return radii, centers + unset, depths + unset[..., 0], conics + unset, compensations


def _colored(degree, dirs, coeffs, masks):
    """`spherical_harmonics`, which does not set what is masked and gives it no gradient."""
    assert dirs.shape[:-1] == coeffs.shape[:-2] == masks.shape and masks.dtype == torch.bool
    colors = torch.full_like(dirs, torch.nan)
    return colors.index_put((masks,), _torch_impl._spherical_harmonics(degree, dirs[masks], coeffs[masks]))


def _tiles(means2d, radii, depths, tile_size, columns, rows):
    assert means2d.shape == (1, radii.shape[1], 2) and radii.dtype == torch.int32 and depths.shape == radii.shape[:2]
    shown = torch.where((radii > 0).all(-1, keepdim=True), means2d, 0).detach()  # the rest is never looked at
    return _torch_impl._isect_tiles(shown, radii, depths.detach(), tile_size, columns, rows)


def _pairs(first, end, transmittances, means2d, conics, opacities, width, height, tile_size, starts, ids):
    """`rasterize_to_indices_in_range`: of each pixel, in row-major order, the Gaussians of its tile's batches."""
    assert transmittances.shape == (1, height, width) and starts.shape[0] == 1
    assert starts.dtype == ids.dtype == torch.int32
    with torch.no_grad():
        bounds, columns = [*starts.flatten().tolist(), len(ids)], starts.shape[2]
        batch, gaussians, pixels = tile_size**2, [], []
        for pixel in range(width * height):
            y, x = divmod(pixel, width)
            tile = y // tile_size * columns + x // tile_size
            here = ids[bounds[tile] : bounds[tile + 1]][first * batch : end * batch].long()
            dx, dy = (means2d[0, here] - torch.tensor([x + 0.5, y + 0.5])).T
            a, b, c = conics[0, here].T
            sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
            alpha = (opacities[0, here] * torch.exp(-sigma)).clamp_max(0.999)
            seen = (sigma >= 0) & (alpha >= FIRST)
            here, through = here[seen], transmittances[0, y, x] * torch.cumprod(1 - alpha[seen], 0)
            gaussians.append(here[through > LAST])
            pixels.append(torch.full_like(gaussians[-1], pixel))
        chosen, where = torch.cat(gaussians), torch.cat(pixels)
        return chosen, where, torch.zeros_like(where)


def _weights(alphas, ray_indices, n_rays):
    """nerfacc's `render_weight_from_alpha`: of pairs that stand together by ray, nearest first."""
    starts = torch.searchsorted(ray_indices, ray_indices)
    through = torch.log1p(-alphas.double()).cumsum(0)
    before = torch.cat([through.new_zeros(1), through])
    transmittance = torch.exp(before[:-1] - before[starts]).to(alphas.dtype)
    return alphas * transmittance, transmittance


def _summed(weights, values, ray_indices, n_rays):
    """nerfacc's `accumulate_along_rays`."""
    values = torch.ones_like(weights)[:, None] if values is None else values
    zeros = values.new_zeros(n_rays, values.shape[-1])
    return zeros.index_add(0, ray_indices, weights[:, None] * values)


def _blended(means2d, conics, colors, opacities, width, height, tile_size, starts, ids):
    assert colors.shape[:2] == means2d.shape[:2] == conics.shape[:2] == opacities.shape
    assert all(tensor.dtype == torch.float32 for tensor in (means2d, conics, colors, opacities))
    return _torch_impl._rasterize_to_pixels(means2d, conics, colors, opacities, width, height, tile_size, starts, ids)


NEEDS_CUDA = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))


@pytest.fixture(params=["torch", pytest.param("cuda", marks=NEEDS_CUDA)])
def drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """`rasterize` by way of gsplat, for tensors of the CPU: by its kernels on CUDA, or by its torch functions."""
    if request.param == "cuda":
        return _rasterize_on_cuda
    nerfacc = SimpleNamespace(render_weight_from_alpha=_weights, accumulate_along_rays=_summed)
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc)
    monkeypatch.setattr(_wrapper, "rasterize_to_indices_in_range", _pairs)
    stand_ins = {
        "fully_fused_projection": _projected,
        "spherical_harmonics": _colored,
        "isect_tiles": _tiles,
        "isect_offset_encode": _torch_impl._isect_offset_encode,
        "rasterize_to_pixels": _blended,
        "rasterize_to_indices_in_range": _pairs,
    }
    for name, function in stand_ins.items():
        monkeypatch.setattr(cuda, name, function)
    monkeypatch.setattr("render.splats.cpu.rasterize_on_cpu", cuda.rasterize_on_cuda)
    return rasterize


def _rasterize_on_cuda(splats: Splats, view, lens, width: int, height: int, **options) -> Rendering:
    moved = {name: x.cuda() if isinstance(x, torch.Tensor) else x for name, x in options.items()}
    picture = rasterize(Splats(*(x.cuda() for x in splats)), view.cuda(), lens.cuda(), width, height, **moved)
    return Rendering(*(None if x is None else x.cpu() for x in picture))


def _faint(n: int, seed: int) -> Splats:
    """Of opacities that neither clamp reaches."""
    splats = _splats(n, seed)
    splats.opacity_logits.clamp_(max=1.5)
    return splats


def _assert_same(found, wanted, error: float = 1e-3) -> None:
    """Values and gradients to `error`; those to the intrinsics gsplat does not make."""
    (fast, gradients), (slow, expected) = found, wanted
    for name in OUTPUTS:
        ours, truth = getattr(fast, name).detach().double(), getattr(slow, name).detach().double()
        if name == "depth":  # a ratio, of few digits where alpha is small
            ours, truth = ours * slow.alpha / 3, truth * slow.alpha / 3  # of scenes 3 units deep
        torch.testing.assert_close(ours, truth, atol=error, rtol=error, msg=lambda told, name=name: f"{name}: {told}")
    assert (fast.ids == slow.ids).double().mean() > 0.999
    for name in set(NAMES) - {"intrinsics"}:
        off = (gradients[name].cpu().double() - expected[name].double()).norm() / expected[name].double().norm()
        assert off < error, f"{name}: {off:.1e}"


@pytest.mark.parametrize("antialiased", [False, True])
def test_gsplat_is_the_reference(drawn, antialiased: bool):
    splats = _faint(60, seed=20)
    _assert_same(
        _rendered(drawn, splats, torch.float32, geometry=True, antialiased=antialiased),
        _rendered(rasterize_slowly, splats, torch.float64, max_alpha=0.999, antialiased=antialiased),
    )


def test_gsplat_is_the_cpu(drawn):
    """Of many Gaussians, in lists of several batches, with some of the harmonics."""
    splats = _faint(330, seed=21)
    splats.means[:, :2] *= 0.05  # into a few tiles
    splats.log_scales.sub_(1)
    splats.opacity_logits.sub_(3)
    found = _rendered(drawn, splats, torch.float32, geometry=True, sh_degree=1)
    with pytest.MonkeyPatch.context() as original:
        original.setattr("render.splats.cpu.rasterize_on_cpu", rasterize_on_cpu)
        wanted = _rendered(rasterize, splats, torch.float32, geometry=True, sh_degree=1)
    _assert_same(found, wanted)


def test_more_features_than_are_blended_at_once(drawn):
    """Of each channel the mean of its feature over the picture, which is that of a channel alone."""
    splats, generator = _faint(40, seed=22), torch.Generator().manual_seed(0)
    features = torch.randn(40, 41, generator=generator)
    camera = VIEW.float(), INTRINSICS.float(), WIDTH, HEIGHT
    together = drawn(splats, *camera, features=features).features
    for k in (0, 30, 40):
        alone = drawn(splats, *camera, features=features[:, k : k + 1]).features
        torch.testing.assert_close(together[..., k : k + 1], alone, atol=1e-6, rtol=1e-5)


def test_broken_gaussians_change_nothing(drawn):
    """Whichever number is broken, and none of the gradients is."""
    splats = _faint(30, seed=23)
    broken = [
        [torch.full_like(field[:1], value) if k == j else other[:1] for j, other in enumerate(splats)]
        for k, field in enumerate(splats)
        for value in (torch.nan, torch.inf, 1e38)
    ]
    broken.append(
        [splats.means[:1], splats.log_scales[:1], torch.zeros(1, 4), splats.opacity_logits[:1], splats.sh[:1]]
    )
    fields = [torch.cat([splats[k], *(case[k] for case in broken)]).requires_grad_() for k in range(5)]
    camera = VIEW.float(), INTRINSICS.float(), WIDTH, HEIGHT
    whole, picture = drawn(splats, *camera), drawn(Splats(*fields), *camera, geometry=True)
    (picture.color.sum() + picture.depth.sum() + picture.normal.sum()).backward()
    assert not picture.visible[30:].any()
    torch.testing.assert_close(picture.color, whole.color)
    for field in fields:
        assert field.grad is not None and field.grad.isfinite().all() and not field.grad[30:].any()


def test_no_gaussian_shows_the_background(drawn):
    none = Splats(*(tensor[:0].requires_grad_() for tensor in _splats(1, seed=0)))
    grey, features = torch.tensor([0.1, 0.2, 0.3]), torch.zeros(0, 5)
    picture = drawn(none, VIEW.float(), INTRINSICS.float(), 20, 10, background=grey, geometry=True, features=features)
    assert torch.equal(picture.color, grey.expand(10, 20, 3)) and not picture.alpha.any() and (picture.ids == -1).all()
    assert picture.normal.shape == (10, 20, 3) and picture.features.shape == (10, 20, 5)
    picture.color.sum().backward()
    assert all(field.grad is not None and field.grad.shape == field.shape for field in none)
