"""Gaussian splats from views: colour and opacity in space, drawn as millions of soft ellipsoids.

Kerbl, Kopanas, Leimkühler, Drettakis, "3D Gaussian splatting for real-time radiance field rendering", 2023. Gaussians
begin at the points that structure from motion knows, or at random, and learn from one picture a step
(`recon.gaussians.stage`); where they are too coarse they are halved, up to a budget (`recon.gaussians.density`). What
Relief does otherwise than the published program, and what it brings, stands in docs/splats.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from recon.errors import UserError
from recon.inputs import View, Views
from recon.limits import Cost
from recon.scene import Scene
from recon.split import split

if TYPE_CHECKING:
    from recon.gaussians.model import Gaussians
    from recon.gaussians.stage import GaussianStage
    from recon.gaussians.targets import Targets
    from recon.scene import Frame
    from recon.training import Trainer

FEWEST_VIEWS = 2
KNOWN = 0.7  # of the budget goes to known points at most, the rest is for growth
MEGABYTES = 500  # torch and the kernels
MEGABYTES_A_GAUSSIAN = 1.2e-3
MEGABYTES_A_PIXEL = 4e-4  # of one picture, while it is drawn and compared

Count = Annotated[int, msgspec.Meta(ge=1)]
Weight = Annotated[float, msgspec.Meta(ge=0)]


class SplatsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Gaussian splats."""

    steps: Count = 7000
    """Pictures that are learned from, one after the other, at most. A time limit sets it."""
    steps_a_photo: Count = 150
    """There are no more steps than so many for each photo: more would learn few photos by heart."""
    gaussians: Count = 100_000
    """How many Gaussians there are at most. A time limit may lower it."""
    image_side: Annotated[int, msgspec.Meta(ge=16)] = 1600
    """Pixels of the longer side of the pictures that are learned from, at most; larger ones are made smaller."""
    density: Literal["error", "mcmc"] = "error"
    """How Gaussians are added: where the pictures are the most wrong, or by Markov chain Monte Carlo."""
    sh_degree: Annotated[int, msgspec.Meta(ge=0, le=3)] = 3
    """How much colours may depend on the direction: 0 is not at all."""
    random_points: Count = 10_000
    """How many Gaussians are there at the beginning where no points are known."""
    far_points: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Along how many rays more begin far behind, for the sky, where they lead above the horizon; by default a tenth of
    the others, and none where photos have alpha or masks."""
    stereo: bool = True
    """Where points are known, begin also on all surfaces on whose depth neighbouring photos agree."""
    outside_masks: Literal["auto", "empty", "unknown"] = "auto"
    """What there is where masks leave photos out: nothing, as they cut a thing out, or what is not known, as they leave
    out what disturbs; auto tells by the borders of the photos."""
    background: Literal["auto", "white", "black", "random"] = "auto"
    """What lies behind everything; auto is another colour each step where masks cut a thing out, else white where the
    photos have alpha, else black."""
    exposure: bool = False
    """Learn for each photo how it differs in brightness and white balance."""
    ssim: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    """Weight of structural similarity in the loss; the rest is that of colours."""
    opacity_penalty: Weight | None = None
    """Weight of the mean opacity in the loss; by default 0.01 with --density mcmc, else 0."""
    scale_penalty: Weight | None = None
    """Weight of the mean size in the loss; by default 0.01 with --density mcmc, else 0."""
    antialiased: bool = True
    """Make up for the blur of a pixel by the opacity, so that other sizes and distances look right too."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> SplatsConfig:
        """The config of a quality."""
        of = {
            "draft": cls(steps=2000, gaussians=30_000, image_side=800),
            "standard": cls(),
            "high": cls(steps=30_000, steps_a_photo=300, gaussians=500_000),
        }
        return of[quality]

    def steps_for(self, photos: int) -> int:
        """The steps of a training on so many photos."""
        return min(self.steps, self.steps_a_photo * photos)


def splats(views: Views, config: SplatsConfig, train: Trainer) -> Scene:
    """Gaussians, and the cameras with pictures of what was held out.

    Raises:
        UserError: too few views are left to train on.
    """
    from recon.gaussians.evaluation import scene_cameras

    views = split(views)
    stage = gaussian_stage(views, config, train)
    gaussians = train(stage)
    cameras = scene_cameras(gaussians, views, stage.frame, stage.ground, train.device)
    notes = [f"splats: {len(gaussians):,} Gaussians from {len(stage.targets)} views in {stage.steps:,} steps"]
    if stage.targets.cut_out:
        notes.append("masks cut a thing out: around it is nothing (if they do not, give --outside-masks unknown)")
    return Scene(gaussians=gaussians, cameras=cameras, frame=stage.frame, notes=tuple(notes))


def gaussian_stage(views: Views, config: SplatsConfig, train: Trainer) -> GaussianStage:
    """The training of Gaussians on those views that are not held out, after that of what they begin on.

    Raises:
        UserError: they are too few.
    """
    from recon.gaussians.initialization import camera_extent, frame_of
    from recon.gaussians.schedule import Schedule
    from recon.gaussians.stage import GaussianStage, Losses
    from recon.gaussians.targets import Targets

    trained = _trained(views)
    frame = frame_of(views, [view.camera for view in trained])
    targets = Targets(trained, frame, config.image_side, train.device, config.outside_masks)
    cameras = targets.cameras
    smallest = min(min(camera.width, camera.height) for camera in cameras)
    steps = config.steps_for(len(trained))
    schedule = Schedule(steps, config.gaussians, config.sh_degree, camera_extent(cameras), smallest, not _known(views))
    usual = 0.01 if config.density == "mcmc" else 0.0
    penalties = (usual if given is None else given for given in (config.opacity_penalty, config.scale_penalty))
    background = config.background
    if background == "auto":
        background = "random" if targets.cut_out else "white" if targets.have_alpha else "black"
    return GaussianStage(
        targets,
        _initial(views, targets, frame, config, train),
        schedule,
        Losses(config.ssim, *penalties),
        config.density,
        background,
        config.exposure,
        frame,
        train.seed,
        train.device,
    )


def _initial(views: Views, targets: Targets, frame: Frame, config: SplatsConfig, train: Trainer) -> Gaussians:
    """Gaussians at the known points and on the surfaces that photos show, or at random, and some far behind."""
    from recon.gaussians.initialization import far_points, gaussians_at, known_points, points_at_random
    from recon.gaussians.stereo import DepthStage

    rng, most = np.random.default_rng((train.seed, 4)), max(1, int(KNOWN * config.gaussians))
    if _known(views):
        points, colors = known_points(views, frame, most, rng)
    else:
        points, colors = points_at_random(min(config.random_points, config.gaussians), rng)
    far = config.far_points
    if far is None:
        far = 0 if targets.have_alpha or targets.are_masked else len(points) // 10
    parts = [(points, colors)]
    if _known(views) and config.stereo:
        parts.append(train(DepthStage(targets, points, most - len(points), train.seed)))
    left = config.gaussians - sum(len(places) for places, _ in parts)
    parts.append(far_points(min(far, left), targets.cameras, frame.rotation.T @ np.asarray(views.up), rng))
    points, colors = (np.concatenate(part) for part in zip(*parts, strict=True))
    return gaussians_at(points, colors, config.sh_degree, config.antialiased)


def fit_to_minutes(views: Views, config: SplatsConfig, device: str, minutes: float) -> SplatsConfig:
    """The config with the steps, and the budget of Gaussians, that a training of that time suits.

    The measurement differs from run to run: whoever wants the same result again keeps the config that it gave.
    """
    from recon.methods.splats.cost import fitted

    return fitted(_trained(split(views)), _known(views), config, device, 60 * minutes)


def estimate(views: Views, config: SplatsConfig, device: str) -> Cost:
    """What the training will take, by a short measurement."""
    from recon.methods.splats.cost import seconds_of

    trained = _trained(split(views))
    pixels = [view.camera.width * view.camera.height for view in trained]
    scale = [min(1.0, config.image_side / max(view.camera.width, view.camera.height)) ** 2 for view in trained]
    held = [size * share for size, share in zip(pixels, scale, strict=True)]
    pictures = 4e-6 * 1.4 * sum(held)  # 8 bits of four channels, in three sizes
    megabytes = MEGABYTES + MEGABYTES_A_GAUSSIAN * config.gaussians + MEGABYTES_A_PIXEL * max(held) + pictures
    seconds = seconds_of(trained, _known(views), config, device)
    return Cost(seconds, megabytes, "give fewer --gaussians or a smaller --image-side")


def _known(views: Views) -> int:
    """How many points of the scene are known."""
    return 0 if views.points is None else len(views.points.points)


def _trained(views: Views) -> list[View]:
    trained = [view for view in views.views if not view.held_out]
    if len(trained) < FEWEST_VIEWS:
        raise UserError(f"--method splats: {len(trained)} view is left to train on; at least {FEWEST_VIEWS} are needed")
    return trained
