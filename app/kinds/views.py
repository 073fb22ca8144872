"""Images with cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.formats.options import ViewOptions
from recon.inputs import Views

if TYPE_CHECKING:
    from app.report_views import ViewEvidence
    from app.viewer.frusta import FrustumLayer
    from app.viewer.page import Page
    from recon.scene import Scene

NAME = "views"
OPTIONS = ViewOptions


def best_method(views: Views) -> str:
    """Gaussian splats."""
    return "splats"


def metrics(scene: Scene, views: Views) -> dict[str, Any]:
    """`psnr`, `ssim` and `held_out_views` (see `app.heldout.figures`)."""
    from app.heldout import figures

    return figures(scene, views)


def summary(metrics: dict[str, Any], unit: str) -> list[str]:
    """How like the photos the held-out views are."""
    if "psnr" not in metrics:
        return ["held out  no view; --test-views names some"]
    single = metrics["held_out_views"]
    worst = min(single, key=lambda name: single[name]["psnr"])
    count = f"{len(single)} view{'s' * (len(single) != 1)}"
    worst_said = f", worst {worst} with {single[worst]['psnr']:.1f} dB" if len(single) > 1 else ""
    return [f"held out  {count}: PSNR {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.3f}{worst_said}"]


def size(views: Views) -> str:
    """How many, and of how many the cameras are not known."""
    unposed = f", {len(views.unposed)} more without a camera" if views.unposed else ""
    return f"{len(views.views)} views{unposed}"


def evidence(scene: Scene, views: Views) -> ViewEvidence:
    """The photos beside what is rendered in their place."""
    from app.report_views import ViewEvidence

    return ViewEvidence(scene, views)


def layer(page: Page, views: Views) -> FrustumLayer:
    """The folder "Photos"."""
    from app.viewer.frusta import FrustumLayer

    return FrustumLayer(page, views)


def write_for_blender(views: Views, folder: Path) -> None:
    """The sparse points, as those of a point cloud; the cameras are the scene's."""
    from app.kinds import points

    if views.points is not None and len(views.points.points):
        points.write_for_blender(views.points, folder)
