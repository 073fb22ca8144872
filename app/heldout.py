"""The folder `heldout/` of a run: what the method makes of each view that it did not train on, and how alike that is.

heldout/<the photo's path, ending in .png>
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from recon.errors import UserError
from recon.files import replacing
from recon.image_metrics import likeness, photo_of
from recon.inputs import View, Views
from recon.scene import Scene, SceneCamera

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


class Comparison(NamedTuple):
    """A held-out view: its name, what was rendered and what was photographed, (h, w, 3) of sRGB in [0, 1], and where
    the photo is to be looked at (None: everywhere)."""

    name: str
    rendered: Float32[np.ndarray, "h w 3"]
    photo: Float32[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"] | None


def comparisons(scene: Scene, views: Views) -> Iterator[Comparison]:
    """The held-out views that were rendered, each beside its photo, read one after the other."""
    for view, rendered in _rendered(scene, views):
        mask = None if view.mask is None else view.mask()
        yield Comparison(view.name, rendered.astype(np.float32) / 255, photo_of(view), mask)


def _rendered(scene: Scene, views: Views) -> Iterator[tuple[View, UInt8[np.ndarray, "h w 3"]]]:
    """The held-out views that were rendered, and their pictures."""
    by_name = {view.name: view for view in views.views}
    for one in scene.cameras:
        if one.rendered is not None and one.name in by_name:
            yield by_name[one.name], one.rendered


def ground_of(input: object) -> tuple[float, float, float]:
    """What lies behind the splats of a run in pictures, as methods render them: white where the photos have
    transparency, or masks that cut a thing out, or are not at hand, else black."""
    from recon.gaussians.targets import are_cutouts

    if not isinstance(input, Views) or not input.views or input.views[0].image().shape[2] == 4:
        return WHITE
    masks = [view.mask() for view in input.views if view.mask is not None]
    return WHITE if masks and are_cutouts(masks) else BLACK


def figures(scene: Scene, views: Views) -> dict[str, Any]:
    """`psnr` and `ssim`, the means over the held-out views, and those of each in `held_out_views`; nothing where none
    was rendered."""
    single = {
        view.name: dict(zip(("psnr", "ssim"), likeness(view, rendered), strict=True))
        for view, rendered in _rendered(scene, views)
    }
    if not single:
        return {}
    means = {key: float(np.mean([one[key] for one in single.values()])) for key in ("psnr", "ssim")}
    return {**means, "held_out_views": single}


def write_heldout(scene: Scene, run_dir: Path) -> None:
    """Writes the rendered views; the folder of an earlier session is replaced. Nothing where none was rendered."""
    from PIL import Image

    rendered = [one for one in scene.cameras if one.rendered is not None]
    if not rendered:
        return
    places = _places(one.name for one in rendered)
    with replacing(run_dir / "heldout") as partial:
        partial.mkdir()
        for one in rendered:
            path = partial / places[one.name]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(one.rendered)).save(path)


def with_heldout(scene: Scene, run_dir: Path) -> Scene:
    """The scene with what `write_heldout` wrote."""
    places = _places(one.name for one in scene.cameras if one.held_out)
    cameras = tuple(_filled(one, run_dir / "heldout" / places.get(one.name, "")) for one in scene.cameras)
    return replace(scene, cameras=cameras)


def _filled(one: SceneCamera, path: Path) -> SceneCamera:
    from PIL import Image

    if not path.is_file():
        return one
    with Image.open(path) as image:
        if image.size != (one.camera.width, one.camera.height):
            raise UserError(f"{path}: is not of its camera's size, {one.camera.width} x {one.camera.height} pixels")
        return replace(one, rendered=np.asarray(image.convert("RGB")))


def _places(names: Iterable[str]) -> dict[str, str]:
    """Where each photo's picture stands; two photos that differ in their ending alone keep it."""
    places: dict[str, str] = {}
    for name in names:
        parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
        path = PurePosixPath(*parts)
        short = str(path.with_suffix(".png"))
        places[name] = short if short not in places.values() else f"{path}.png"
    return places
