"""Views in the report: photos beside what is rendered in their place, the worst first, and where the cameras stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from app.distance_scale import css_gradient, scale_color
from app.heldout import Comparison, comparisons
from app.markup import Child, Markup, element, joined, picture, table
from app.report_pictures import Image, Viewpoint, backdrop, side_viewpoints
from recon.image_metrics import photo_of
from recon.inputs import Views
from recon.scene import Scene
from render.cameras import Camera
from render.lines import draw_segments
from render.points import render_points

SHOWN = 12  # held-out views with their pictures; the table names all
WIDEST = 560  # pixels of a picture
GREATEST_DIFFERENCE = 0.25  # of the sRGB range: the end of the scale
POINTS_DRAWN = 100_000
FRUSTUM = 0.05  # a camera's depth in the overview, in parts of the extent
TRAINED_COLOR, HELD_OUT_COLOR = (0.12, 0.44, 0.55), (0.85, 0.35, 0.10)


class ViewEvidence:
    """The views beside the result; see `app.report_evidence.Evidence`. No distances are measured."""

    samples, amount, elevation, distances = "photos", "them", 32.0, None

    def __init__(self, scene: Scene, views: Views) -> None:
        self.scene, self.views, self.notes = scene, views, views.notes
        self._by_name = {view.name: view for view in views.views}

    def extent(self) -> Float[np.ndarray, "n 3"]:
        return self.scene.frame.from_user(self.views.extent)

    def understood(self, name: str) -> str:
        views = self.views.views
        sizes = sorted({(view.camera.width, view.camera.height) for view in views}, reverse=True)
        size = f"{sizes[0][0]} × {sizes[0][1]}" + (f" and {len(sizes) - 1} other sizes" if len(sizes) > 1 else "")
        count = 0 if self.views.points is None else len(self.views.points.points)
        held_out = sum(bool(view.held_out) for view in views)
        masked = sum(view.mask is not None for view in views)
        unposed = len(self.views.unposed)
        said = [
            f"{len(views)} images of {size} pixels with cameras",
            f"{held_out} of them held out",
            *([f"{masked} with masks"] if masked else []),
            *([f"{unposed} more images without a camera, left out"] if unposed else []),
            f"{count:,} sparse points" if count else "no points known beforehand",
        ]
        return "; ".join(said) + "."

    def pictures(self, viewpoints: Sequence[Viewpoint]) -> tuple[list[Image], str]:
        return [self._photo(viewpoint) for viewpoint in viewpoints], "The photos taken there"

    def _photo(self, viewpoint: Viewpoint) -> Image:
        view, camera = self._by_name.get(viewpoint.name), viewpoint.camera
        if view is None:
            return np.array(backdrop(camera))
        return _resized(photo_of(view), camera.width, camera.height)

    def distance_picture(self, camera: Camera) -> None:
        """Photos have no distance from a surface."""

    def further(self, run: Mapping[str, Any], viewpoints: Sequence[Viewpoint]) -> Markup | None:
        """The held-out views, and the cameras from above."""
        return joined(self._held_out(run), self._overview())

    def _held_out(self, run: Mapping[str, Any]) -> Markup:
        heading = element("h2", "Held-out views, the worst first")
        figures: Mapping[str, Any] = run.get("metrics", {}).get("held_out_views", {})
        if not figures:
            return joined(heading, element("p", "No view was held out: --test-views names some."))
        order = sorted(figures, key=lambda name: figures[name]["psnr"])
        rows: list[list[Child]] = [[n, f"{figures[n]['psnr']:.2f}", f"{figures[n]['ssim']:.4f}"] for n in order]
        worst = set(order[:SHOWN])
        shown = sorted(
            (one for one in comparisons(self.scene, self.views) if one.name in worst),
            key=lambda one: order.index(one.name),
        )
        more = len(order) - len(shown)
        note = f"The other {more} are in the table and in heldout/." if more and shown else None
        return joined(
            heading,
            element("p", "From left to right: the photo, what is rendered in its place, and how much they differ."),
            _scale(),
            *(_compared(one, figures[one.name]) for one in shown),
            element("p", note, class_="soft") if note else None,
            table(["held-out view", "PSNR (dB)", "SSIM"], rows),
        )

    def _overview(self) -> Markup:
        """The cameras and the sparse points as seen from above, at a slant."""
        frusta, colors = self._frusta
        corners = np.concatenate([frusta.reshape(-1, 3), self.extent()])
        camera = side_viewpoints(corners, self.scene.frame.up, self.elevation)[0].camera.resized(1.2)
        image = np.array(backdrop(camera))
        cloud = self.views.points
        if cloud is not None and len(cloud.points):
            some = cloud.subset(np.random.default_rng(0).permutation(len(cloud.points))[:POINTS_DRAWN])
            paint = TRAINED_COLOR if some.colors is None else some.colors / 255
            image = render_points(self.scene.frame.from_user(some.points), camera, paint, 1.6).over(image)
        image = draw_segments(image, camera, frusta, colors, 1.4)
        over = " over the sparse points" if cloud is not None and len(cloud.points) else ""
        said = f"The cameras{over}; those of held-out views are orange."
        return joined(
            element("h2", "Where the cameras stand"),
            element("div", element("figure", picture(image, "cameras")), element("p", said), class_="beside"),
        )

    @cached_property
    def _frusta(self) -> tuple[Float[np.ndarray, "n 2 3"], Float[np.ndarray, "n 3"]]:
        """The edges of the cameras' pyramids, and their colours."""
        into = self.scene.frame.inverse()
        cameras = [into.camera_to_user(view.camera) for view in self.views.views]
        positions = np.array([camera.position for camera in cameras])
        depth = FRUSTUM * float(np.linalg.norm(np.ptp(np.concatenate([positions, self.extent()]), axis=0)))
        segments = np.concatenate([_pyramid(camera, depth) for camera in cameras])
        colors = [HELD_OUT_COLOR if view.held_out else TRAINED_COLOR for view in self.views.views]
        return segments, np.repeat(colors, len(segments) // len(cameras), axis=0)


def _pyramid(camera: Camera, depth: float) -> Float[np.ndarray, "8 2 3"]:
    """The edges from the camera's position to its picture's corners at that depth, and around the picture."""
    pixels = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]], np.float64)
    (fx, _, cx), (_, fy, cy) = camera.intrinsics[0], camera.intrinsics[1]
    seen = np.column_stack([(pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy, np.ones(4)]) * depth
    corners = seen @ camera.world_to_camera[:3, :3] + camera.position
    sides = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
    rays = np.stack([np.broadcast_to(camera.position, (4, 3)), corners], axis=1)
    return np.concatenate([rays, sides])


def _compared(one: Comparison, figures: Mapping[str, float]) -> Markup:
    """Three pictures beside each other under the view's name and figures."""
    factor = min(1.0, WIDEST / one.photo.shape[1])
    size = max(1, round(one.photo.shape[1] * factor)), max(1, round(one.photo.shape[0] * factor))
    photo, rendered = _resized(one.photo, *size), _resized(one.rendered, *size)
    difference = np.abs(photo - rendered).mean(2)
    if one.mask is not None:
        inside = _resized(np.repeat(one.mask[..., None], 3, axis=2).astype(np.float32), *size)[..., 0]
        difference = difference * (inside > 0.5)
    painted = scale_color(difference.ravel() / GREATEST_DIFFERENCE).reshape(photo.shape).astype(np.float32)
    images = (photo, "photo"), (rendered, "rendered"), (painted, "difference")
    cells = (element("figure", picture(image, f"{what}: {one.name}")) for image, what in images)
    title = f"{one.name}: PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}"
    return joined(element("p", title, class_="row"), element("div", *cells, class_="thirds"))


def _scale() -> Markup:
    """What the colours of a difference mean."""
    ends = ("0", f"{100 * GREATEST_DIFFERENCE:.0f} % of the range of colours and more")
    bar = element("div", class_="scale", style=f"background:{css_gradient()}")
    return element("div", bar, element("div", *(element("span", end) for end in ends), class_="ends"), class_="narrow")


def _resized(image: Float32[np.ndarray, "h w 3"], width: int, height: int) -> Float32[np.ndarray, "h2 w2 3"]:
    """The picture on other pixels, each the mean of what it covers."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image as Pillow

    from render.meshes import to_bytes

    resized = Pillow.fromarray(to_bytes(image)).resize((width, height), Pillow.Resampling.BOX)
    return np.asarray(resized, np.float32) / 255
