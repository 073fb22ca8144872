"""Training on CUDA: what its own code does, as far as a CPU can tell; and, where there is one, the whole."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recon.gaussians.optimizer import BETA1, BETA2, VisibleAdam
from recon.gaussians.photometric import photometric_loss, ssim_map
from recon.gaussians.tensors import to_splats
from recon.inputs import View, Views
from recon.methods.splats import SplatsConfig, gaussian_stage, splats
from recon.training import Trainer
from render.splats import render_image
from tests.recon.gaussians.test_training_of_gaussians import RATES, camera, some_gaussians
from tests.recon.methods.test_splats import QUICK, blobs, held_out_psnr, photographed

no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def needs_cuda(test):
    """Marks a test for machines with CUDA."""
    return pytest.mark.gpu(no_cuda(test))


def _adam(values, gradient, first, second, valid, rate, beta1, beta2, epsilon):
    """gsplat's kernel `adam` in torch, with what it asks of its inputs."""
    assert all(tensor.is_contiguous() for tensor in (values, gradient, first, second, valid))
    assert valid.dtype == torch.bool and valid.shape == values.shape[:1]
    first[valid] = beta1 * first[valid] + (1 - beta1) * gradient[valid]
    second[valid] = beta2 * second[valid] + (1 - beta2) * gradient[valid] ** 2
    values[valid] -= rate * first[valid] / (second[valid].sqrt() + epsilon)


def test_the_optimiser_strides_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    """Three steps, in which the harmonics gain a degree, with other Gaussians in view each time."""
    monkeypatch.setattr(pytest.importorskip("gsplat.cuda._wrapper"), "adam", _adam)
    ours, theirs = (to_splats(some_gaussians(40), trainable=True) for _ in range(2))
    on_cuda, on_cpu = VisibleAdam(ours), VisibleAdam(theirs)
    generator = torch.Generator().manual_seed(0)
    for i in range(3):
        visible = torch.rand(40, generator=generator) < 0.7
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            mine.grad[~visible] = 0
            if mine.dim() == 3:
                mine.grad[:, (i + 1) ** 2 :] = 0
            other.grad = mine.grad.clone()
        on_cpu.step(theirs, visible, RATES, i, sh_degree=i)
        correction = (1 - BETA2 ** (i + 1)) ** 0.5 / (1 - BETA1 ** (i + 1))
        with torch.no_grad():
            on_cuda._step_on_cuda(ours, visible, {name: correction * rate for name, rate in RATES.items()})
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


def test_the_loss_on_cuda_is_that_of_the_cpu():
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(37, 50, 3, generator=generator)
    rendered = (0.7 * target + 0.3 * torch.rand(target.shape, generator=generator)).requires_grad_()
    loss = photometric_loss(rendered, target)
    loss.backward()
    wanted, rendered.grad = rendered.grad, None
    composed = 0.8 * (rendered - target).abs().mean() + 0.2 * (1 - ssim_map(rendered, target).mean())
    composed.backward()
    assert loss.item() == pytest.approx(composed.item(), abs=1e-6)
    assert wanted is not None and rendered.grad is not None
    assert (rendered.grad - wanted).norm() <= 1e-4 * wanted.norm()


# --- on a device without data ----------------------------------------------------------------------------------------


class _Kernels:
    """gsplat's kernels in name: they check what the kernels check, and answer in shape and type."""

    @staticmethod
    def _check(*tensors) -> None:
        for tensor in tensors:
            assert tensor is None or (tensor.is_meta and tensor.is_contiguous())

    def projection_ewa_3dgs_fused_fwd(
        self,
        means,
        covars,
        quats,
        scales,
        opacities,
        viewmats,
        Ks,
        width,
        height,
        eps2d,
        near,
        far,
        clip,
        compensate,
        _,
    ):
        self._check(means, quats, scales, opacities, viewmats, Ks)
        assert means.dtype == quats.dtype == scales.dtype == opacities.dtype == viewmats.dtype == Ks.dtype
        each = means.new_empty(1, len(means))
        radii = each.new_empty(1, len(means), 2, dtype=torch.int32)
        conics = means[None].clone()
        return radii, conics[..., :2].contiguous(), each, conics, each.clone() if compensate else None

    def projection_ewa_3dgs_fused_bwd(self, means, covars, quats, scales, viewmats, Ks, width, height, eps2d, _, *rest):
        self._check(means, quats, scales, viewmats, Ks, *rest[:-1])
        return torch.zeros_like(means), None, torch.zeros_like(quats), torch.zeros_like(scales), None

    def spherical_harmonics_fwd(self, degree, dirs, coeffs, masks):
        self._check(dirs, coeffs, masks)
        return torch.empty_like(dirs)

    def spherical_harmonics_bwd(self, bases, degree, dirs, coeffs, masks, v_colors, _):
        self._check(dirs, coeffs, masks, v_colors)
        return torch.zeros_like(coeffs), torch.zeros_like(dirs)

    def intersect_tile(self, means2d, radii, depths, image_ids, gaussian_ids, images, *rest):
        self._check(means2d, radii, depths)
        assert images == 1
        return torch.empty_like(radii[..., 0]), radii.new_empty(7, dtype=torch.int64), radii.new_empty(7)

    def intersect_offset(self, isect_ids, images, width, height):
        self._check(isect_ids)
        return isect_ids.new_empty(images, height, width, dtype=torch.int32)

    def rasterize_to_pixels_3dgs_fwd(self, means2d, conics, colors, opacities, _, __, width, height, tile, starts, ids):
        self._check(means2d, conics, colors, opacities, starts, ids)
        assert means2d.dtype == conics.dtype == colors.dtype == opacities.dtype == torch.float32
        pixels = colors.new_empty(1, height, width, colors.shape[-1])
        return pixels, pixels[..., :1].contiguous(), starts.new_empty(1, height, width)

    def rasterize_to_pixels_3dgs_bwd(self, means2d, conics, colors, opacities, _, __, width, height, tile, *rest):
        self._check(means2d, conics, colors, opacities, *rest[:-1])
        return None, *(torch.zeros_like(tensor) for tensor in (means2d, conics, colors, opacities))

    def adam(self, param, param_grad, exp_avg, exp_avg_sq, valid, *numbers):
        self._check(param, param_grad, exp_avg, exp_avg_sq, valid)
        assert all(isinstance(number, float) for number in numbers)


class _OneDevice(TorchDispatchMode):
    """No operation but a copy takes tensors of two devices, apart from single numbers."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.overloadpacket not in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.dim()]
            assert len({tensor.device.type for tensor in tensors}) < 2, operation
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("exposure", [False, True])
def test_a_step_mixes_no_devices_and_its_tensors_suit_the_kernels(exposure: bool, monkeypatch: pytest.MonkeyPatch):
    """The meta device stands for CUDA. Its tensors have no data, so that nothing can wait for a number of theirs."""
    wrapper = pytest.importorskip("gsplat.cuda._wrapper")
    monkeypatch.setattr(wrapper, "_make_lazy_cuda_func", lambda name: getattr(_Kernels(), name))
    monkeypatch.setattr(wrapper, "_make_lazy_cuda_obj", lambda name: name)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    mask = np.ones((64, 64), bool)
    views = tuple(
        View(str(k), camera((0, -4, k)), lambda: np.zeros((64, 64, 4), np.uint8), mask=lambda: mask) for k in range(3)
    )
    config = SplatsConfig(
        steps=1000, random_points=50, exposure=exposure, background="random", opacity_penalty=0.1, scale_penalty=0.1
    )
    stage = gaussian_stage(Views(views), config, Trainer(device="meta"))
    monkeypatch.setattr(stage, "_read_every", 1000)
    with _OneDevice():
        for i in (1, 901):
            stage.step(i)
    assert all(tensor.is_meta for tensor in (*stage.splats, *stage.optimizer.first))


# --- on CUDA ---------------------------------------------------------------------------------------------------------


@needs_cuda
@pytest.mark.parametrize("density", ["error", "mcmc"])
def test_known_gaussians_are_found_as_on_the_cpu(density):
    views = photographed(blobs())
    config = msgspec.structs.replace(QUICK, random_points=300, sh_degree=1, density=density)
    found = {device: held_out_psnr(splats(views, config, Trainer(device=device)), views) for device in ("cpu", "cuda")}
    assert found["cuda"] > 28 and found["cuda"] > found["cpu"] - 0.5


@needs_cuda
def test_a_resumed_training_goes_on_as_it_would_have():
    """Up to the order of sums on the device."""
    views = photographed(blobs(20), 8, alpha=False)
    config = msgspec.structs.replace(QUICK, steps=40, random_points=200, exposure=True)
    whole, halted, resumed = (gaussian_stage(views, config, Trainer(device="cuda")) for _ in range(3))
    for i in range(40):
        whole.step(i)
        if i < 20:
            halted.step(i)
    state = halted.state_dict()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    resumed.load_state_dict(state)
    for i in range(20, 40):
        resumed.step(i)
    view = views.views[0].camera
    one, other = (render_image(to_splats(stage.result(), "cuda"), view) for stage in (whole, resumed))
    assert np.abs(one - other).mean() < 1e-3


@needs_cuda
def test_a_picture_of_cuda_is_that_of_the_cpu():
    gaussians = some_gaussians(300)
    gaussians.opacity_logits[:] = gaussians.opacity_logits.clip(max=1.5)
    pictures = [render_image(to_splats(gaussians, device), camera((0, -4, 1)), (1, 1, 1)) for device in ("cpu", "cuda")]
    assert np.abs(pictures[0] - pictures[1]).max() < 2e-3


@needs_cuda
def test_the_loss_and_its_gradient_are_exact_on_cuda():
    """In float32, where convolutions could well be in less."""
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(200, 300, 3, generator=generator)
    rendered = 0.9 * target + 0.1 * torch.rand(target.shape, generator=generator)
    x, y = rendered.clone().requires_grad_(), rendered.cuda().requires_grad_()
    loss, on_cuda = photometric_loss(x, target, 1.0), photometric_loss(y, target.cuda(), 1.0)
    loss.backward()
    on_cuda.backward()
    assert x.grad is not None and y.grad is not None
    assert on_cuda.item() == pytest.approx(loss.item(), abs=1e-5)
    assert (y.grad.cpu() - x.grad).norm() <= 1e-3 * x.grad.norm()
