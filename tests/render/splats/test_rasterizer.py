"""Splats on the CPU: pictures and gradients against the slow reference, finite differences, and gsplat's formulas."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from render.cameras import Camera, look_at
from render.splats import Splats, blending, compilation, rasterize, render_image
from render.splats.reference import rasterize_slowly
from render.splats.threads import parts_of, share

WIDTH, HEIGHT = 61, 45
VIEW = torch.tensor(look_at([0.3, -0.4, -1.0], [0, 0, 2.5], (0, -1, 0))).float().double()
INTRINSICS = torch.tensor([[50.0, 0, 29], [0, 52, 24], [0, 0, 1]], dtype=torch.float64)
NAMES = ("means", "log_scales", "quaternions", "opacity_logits", "sh", "view", "intrinsics", "background", "features")
OUTPUTS = ("color", "alpha", "depth", "median_depth", "normal", "features")


def _splats(n: int, seed: int, spread: float = 1.0, degree: int = 3) -> Splats:
    """Random Gaussians in front of, beside and behind the camera."""
    generator = torch.Generator().manual_seed(seed)
    normal = [torch.randn(n, k, generator=generator) for k in (3, 3, 4, 1, 3 * (degree + 1) ** 2)]
    means = spread * normal[0] + torch.tensor([0, 0, 2.5])
    sh = 0.3 * normal[4].reshape(n, -1, 3)
    return Splats(means, 0.6 * normal[1] - 2.2, normal[2], 1.5 * normal[3][:, 0] + 0.5, sh)


def _rendered(function, splats: Splats, dtype: torch.dtype, **options):
    """All outputs, the loss of a fixed random weighting of them, and its gradients."""
    generator = torch.Generator().manual_seed(5)
    random = [torch.rand(3, generator=generator), torch.randn(len(splats.means), 11, generator=generator)]
    leaves = [tensor.to(dtype).clone().requires_grad_() for tensor in (*splats, VIEW, INTRINSICS, *random)]
    picture = function(
        Splats(*leaves[:5]), leaves[5], leaves[6], WIDTH, HEIGHT, background=leaves[7], features=leaves[8], **options
    )
    loss = sum(
        (getattr(picture, name) * torch.randn(getattr(picture, name).shape, generator=generator).to(dtype)).sum()
        for name in OUTPUTS
    )
    loss.backward()
    return picture, dict(zip(NAMES, [leaf.grad for leaf in leaves], strict=True))


def _assert_same(splats: Splats, **options) -> None:
    """Pictures and gradients to 1e-5, the ids exactly."""
    slow, expected = _rendered(rasterize_slowly, splats, torch.float64, **options)
    fast, gradients = _rendered(rasterize, splats, torch.float32, geometry=True, **options)
    for name in OUTPUTS:
        ours, truth = getattr(fast, name).detach().double(), getattr(slow, name)
        torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert torch.equal(fast.ids.long(), slow.ids)
    for name, gradient in gradients.items():
        off = (gradient.double() - expected[name]).norm() / expected[name].norm().clamp_min(1e-12)
        assert off < 1e-5, f"{name}: {off:.1e}"


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 3])
def test_pictures_and_gradients_are_the_references(degree: int, antialiased: bool):
    _assert_same(_splats(200, seed=degree, degree=degree), antialiased=antialiased)


def test_gaussians_around_the_camera_and_across_the_border():
    _assert_same(_splats(200, seed=7, spread=2.5))


def test_fewer_harmonics_than_there_are():
    _assert_same(_splats(100, seed=8), sh_degree=1)


@pytest.mark.parametrize("antialiased", [False, True])
def test_tiny_and_huge_gaussians(antialiased: bool):
    splats = _splats(120, seed=9)
    splats.log_scales[:40] = -12
    splats.log_scales[40:60] = 1.5
    splats.log_scales[60:80, 0] = -9
    _assert_same(splats, antialiased=antialiased)


def test_thousands_of_gaussians_on_one_pixel():
    splats = _splats(3000, seed=10)
    position = torch.linalg.inv(VIEW)[:3, 3].float()
    towards = torch.tensor([0.0, 0.0, 2.5]) - position
    splats.means[:] = position + torch.linspace(0.5, 3, 3000)[:, None] * towards / towards.norm()
    splats.log_scales[:] = -4
    splats.opacity_logits[:] = -4
    _assert_same(splats)


def test_gradients_are_finite_differences():
    """Of Gaussians so wide that no pixel is left at 1/255, where alpha jumps."""
    splats, generator = _splats(8, seed=11, spread=0.3), torch.Generator().manual_seed(0)
    splats.log_scales.mul_(0.1).add_(0.9)
    splats.opacity_logits.sub_(1.5)
    weights = torch.randn(HEIGHT, WIDTH, 3, generator=generator)

    def loss(moved: Splats) -> torch.Tensor:
        return (rasterize(moved, VIEW.float(), INTRINSICS.float(), WIDTH, HEIGHT).color * weights).double().sum()

    leaves = Splats(*(tensor.clone().requires_grad_() for tensor in splats))
    loss(leaves).backward()
    for k, leaf in enumerate(leaves):
        step = torch.randn(leaf.shape, generator=generator) * 2e-3
        ahead, back = (list(splats) for _ in range(2))
        ahead[k], back[k] = splats[k] + step, splats[k] - step
        slope = (loss(Splats(*ahead)) - loss(Splats(*back))) / 2
        assert leaf.grad is not None
        assert slope == pytest.approx(float((leaf.grad.double() * step).sum()), rel=5e-3, abs=2e-3), leaves._fields[k]


def test_the_nearest_is_in_front():
    """Two opaque discs on the axis, the nearer red: red is seen, and its index and depth at the median."""
    means = torch.tensor([[0, 0, 4.0], [0, 0, 2.0]])
    sh = torch.tensor([[[-0.5, 0.5, -0.5]], [[0.5, -0.5, -0.5]]]) / 0.28209479
    splats = Splats(means, torch.full((2, 3), -1.0), torch.tensor([[1.0, 0, 0, 0]] * 2), torch.full((2,), 9.0), sh)
    picture = rasterize(splats, torch.eye(4), INTRINSICS.float(), WIDTH, HEIGHT, geometry=True)
    assert picture.ids is not None and picture.median_depth is not None
    assert picture.ids[24, 29] == 1 and picture.median_depth[24, 29] == 2
    torch.testing.assert_close(picture.color[24, 29], torch.tensor([0.99, 0.0099, 0]), atol=1e-3, rtol=0)
    assert (picture.alpha[0, 0], picture.ids[0, 0], picture.median_depth[0, 0]) == (0, -1, 0)


def test_not_a_number_never_leaves():
    """Broken Gaussians change nothing, whichever number of theirs is broken, and get no gradient."""
    splats = _splats(60, seed=12)
    whole = rasterize(splats, VIEW.float(), INTRINSICS.float(), WIDTH, HEIGHT).color
    broken = []
    for k, field in enumerate(splats):
        for value in (float("nan"), float("inf"), 1e38):
            extra = [tensor[:1].clone() for tensor in splats]
            extra[k] = torch.full_like(field[:1], value)
            broken.append(extra)
    nothing = [tensor[:1].clone() for tensor in splats]
    nothing[2] = torch.zeros(1, 4)
    broken.append(nothing)
    fields = [torch.cat([splats[k], *(case[k] for case in broken)]).requires_grad_() for k in range(5)]
    picture = rasterize(Splats(*fields), VIEW.float(), INTRINSICS.float(), WIDTH, HEIGHT, geometry=True)
    picture.color.sum().backward()
    for tensor in (picture.color, picture.alpha, picture.depth, picture.normal, *(field.grad for field in fields)):
        assert tensor is not None and tensor.isfinite().all()
    assert not picture.visible[60:].any()
    assert torch.equal(picture.color, whole)


def test_no_gaussians_show_the_background():
    none = Splats(*(tensor[:0] for tensor in _splats(1, seed=0)))
    picture = rasterize(none, VIEW.float(), INTRINSICS.float(), 20, 10, background=torch.tensor([0.1, 0.2, 0.3]))
    assert (picture.color == torch.tensor([0.1, 0.2, 0.3])).all() and not picture.alpha.any()


def test_the_projection_is_gsplats():
    """Centres, conics and compensations against gsplat's own torch functions, the harmonics as well."""
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics

    from render.splats.cpu import _Picture
    from render.splats.projection import lens_of
    from render.splats.records import CENTER_X, COLOR, CONIC_A, LOG_OPACITY

    splats = _splats(300, seed=13)
    view, lens = VIEW.float(), INTRINSICS.float()
    position = torch.linalg.inv(view)[:3, 3]
    camera = (view.numpy(), position.numpy(), lens_of(lens.numpy(), WIDTH, HEIGHT))
    picture = _Picture([tensor.numpy() for tensor in splats], camera, 3, True, WIDTH, HEIGHT)
    records, seen = picture.records, picture.hits > 0
    covariances, _ = _quat_scale_to_covar_preci(splats.quaternions, splats.log_scales.exp())
    _, centers, _, conics, compensations = _fully_fused_projection(
        splats.means, covariances, view[None], lens[None], WIDTH, HEIGHT, calc_compensations=True
    )
    assert compensations is not None and seen.sum() > 100
    opacity = torch.sigmoid(splats.opacity_logits) * compensations[0]
    away = splats.means - position
    color = (_spherical_harmonics(3, away, splats.sh) + 0.5).clamp_min(0)
    for first, truth in ((CENTER_X, centers[0]), (COLOR, color)):
        ours = torch.from_numpy(records[:, first : first + truth.shape[1]])
        torch.testing.assert_close(ours[seen], truth[seen], rtol=1e-3, atol=1e-3)
    a, k, r = torch.from_numpy(records[:, CONIC_A : CONIC_A + 3]).unbind(1)
    torch.testing.assert_close(torch.stack([a, a * k, a * k * k + r], 1)[seen], conics[0][seen], rtol=1e-3, atol=1e-3)
    ours = torch.from_numpy(records[:, LOG_OPACITY]).exp()
    torch.testing.assert_close(ours[seen], opacity[seen], rtol=1e-3, atol=1e-4)


def test_a_picture_in_numpy():
    camera = Camera(VIEW.numpy(), INTRINSICS.numpy(), WIDTH, HEIGHT)
    picture = render_image(_splats(50, seed=1), camera, background=(1, 1, 1))
    assert picture.shape == (HEIGHT, WIDTH, 4) and picture.dtype == np.float32
    assert picture[picture[..., 3] == 0][:, :3].min(initial=1) == 1


def test_wrong_shapes_are_named():
    splats = _splats(5, seed=0)
    with pytest.raises(ValueError, match=r"splats.quaternions is \(5, 3\)"):
        rasterize(splats._replace(quaternions=splats.means), VIEW.float(), INTRINSICS.float(), 8, 8)


def test_four_threads_have_as_much_to_do():
    """Where lists are long at an object and empty around it, and opaque Gaussians end some of them early, whichever
    thread is free takes the next part: at the end all have worked for the same time, to 5 %."""
    generator = np.random.default_rng(0)
    for side in (16, 25, 50):
        x, y = np.mgrid[:side, :side] / side - 0.5
        lists = (900 * np.exp(-(x * x + y * y) / 0.05) * generator.random((side, side))).astype(np.int64).ravel()
        blended = np.minimum(lists, generator.integers(50, 900, side * side))
        parts = parts_of(side * side, 4, lists)
        assert sorted(tile for part in parts for tile in range(*part)) == list(range(side * side))
        busy = np.zeros(4)
        for first, end in parts:
            busy[busy.argmin()] += blended[first:end].sum()
        assert busy.mean() / busy.max() >= 0.95


def test_the_pixel_loop_is_vectorised():
    """One row of 16 pixels well under what 16 pixels one by one take: 10 ns each and more."""
    blend = blending._make_blend(3, False)
    buffer, staged = np.ones(5 * blending.PIXELS, np.float32), np.zeros((1, blending.STAGED), np.float32)
    staged[0, [blending.LEFT, blending.TOP, blending.A_16, blending.R_16]] = 8, 8, 0.001, 0.001
    staged[0, [blending.FADE_8, blending.FIRST_ROW, blending.END_ROW]] = 0.6, 0, 16

    @numba.njit
    def many(times):
        for _ in range(times):
            blend(buffer.copy(), staged, 0, np.float32(0))

    many(1)
    took = []
    for _ in range(5):
        start = time.process_time()
        many(20_000)
        took.append((time.process_time() - start) / 20_000 / blending.PIXELS)
    assert min(took) < 1.5e-9


THREADS = """
import sys, torch
sys.path[:0] = [{tests!r}]
from test_rasterizer import OUTPUTS, _rendered, _splats, rasterize
results = []
for threads in (1, 2):
    torch.set_num_threads(threads)
    picture, gradients = _rendered(rasterize, _splats(2000, seed=3), torch.float32, geometry=True)
    results.append([getattr(picture, name) for name in OUTPUTS] + list(gradients.values()))
assert all(torch.equal(one, two) for one, two in zip(*results))
print("equal")
"""


def test_two_threads_give_the_same_bits():
    script = THREADS.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "equal\n", done.stderr


def test_each_item_is_done_once_and_errors_are_told():
    """By any number of threads, for no items as well."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            for items in (0, 3, 1000):
                counts = np.zeros(items, np.int64)
                share(lambda first, end, counts=counts: np.add.at(counts, np.arange(first, end), 1), items)
                assert (counts == 1).all()
            with pytest.raises(ZeroDivisionError):
                share(lambda first, end: 1 / 0, 1000)
    finally:
        torch.set_num_threads(before)


STALE = """
from render.splats.projection import covariance
print(covariance((1.0, 0.0, 0.0), (0.0, 2.0, 0.0))[2], sum(covariance.stats.cache_hits.values()))
"""


def test_a_change_in_another_file_reaches_the_kernels(tmp_path: Path):
    """`projection.covariance` is compiled again when `vectors.dot`, which it calls, is another."""
    package = Path(compilation.__file__).parents[1]
    shutil.copytree(package, tmp_path / "render", ignore=shutil.ignore_patterns("__pycache__"))

    def printed() -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", STALE], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert (printed(), printed()) == ("4.0 0\n", "4.0 1\n")
    vectors = tmp_path / "render" / "splats" / "vectors.py"
    vectors.write_text(vectors.read_text().replace("return a[0] * b[0] +", "return 10 + a[0] * b[0] +"))
    assert printed() == "14.0 0\n"


def test_kernels_work_where_nothing_can_be_kept(caplog: pytest.LogCaptureFixture):
    """A function without a file of its own, as from a read-only install without a home: compiled, and said once."""
    space: dict = {}
    exec("def twice(x):\n    return x + x\ndef thrice(x):\n    return x + x + x", space)
    assert compilation.kernel()(space["twice"])(2.0) == 4 and compilation.kernel()(space["thrice"])(2.0) == 6
    assert caplog.text.count("cannot be kept") == 1
