"""Images with cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from recon.formats.options import ViewOptions
from recon.inputs import Views

if TYPE_CHECKING:
    from app.report_views import ViewEvidence
    from app.viewer.frusta import FrustumLayer
    from app.viewer.page import Page
    from recon.scene import Scene

NAME = "views"
OPTIONS = ViewOptions
MOST = 0.98  # of the points count to what bounds a scene: a few stray far away


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


def vertices(views: Views) -> Float[np.ndarray, "n 3"]:
    """The corners of the box around most of the sparse points; without such, where the cameras stand."""
    positions = np.array([view.camera.position for view in views.views]).reshape(-1, 3)
    known = positions if views.points is None or not len(views.points.points) else views.points.points
    if known is positions:
        return positions
    return np.quantile(known, [(1 - MOST) / 2, (1 + MOST) / 2], axis=0)


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
