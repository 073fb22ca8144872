"""`relief render`: a run seen along a camera path, as a video or as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from app.camera_paths import along, orbit
from app.heldout import ground_of
from app.report_pictures import backdrop
from app.run_input import input_again
from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import joined, parts
from recon.formats.scene_folder import read_scene_folder
from recon.scene import Scene
from render.cameras import Camera
from render.meshes import render_mesh, to_bytes

PathName = Literal["orbit", "cameras"]
VIDEOS = (".mp4", ".mkv", ".mov", ".webm")
CRF = "18"  # of H.264: hardly a visible loss
LARGEST = 8192  # pixels of a side

Picture = UInt8[np.ndarray, "h w 3"]


def render_path(
    run: Path, path: PathName, out: Path | None, frames: int, size: tuple[int, int], frames_a_second: int
) -> Path:
    """Renders the scene of a run along the path and gives the video, or the folder of pictures, that was written.

    Raises:
        UserError: the run has no scene or no cameras, a number is out of its range, the ending of `out` is no video's,
            or videos cannot be written here.
    """
    if not (1 <= frames <= 100_000 and 1 <= frames_a_second <= 240 and all(16 <= side <= LARGEST for side in size)):
        raise UserError(
            f"--frames {frames} --fps {frames_a_second} --size {size[0]} {size[1]}: give 1 to 100000 frames, 1 to 240 "
            f"a second, and sides of 16 to {LARGEST} pixels"
        )
    from app.viewer.content import Content

    scene = read_scene_folder(run / "scene")
    input = input_again(run)
    bounds = Content(str(run), scene, input).bounds()
    out = out or run / "export" / (f"{path}.mp4" if videos_can_be_written() else path)
    if out.suffix and out.suffix.lower() not in VIDEOS:
        raise UserError(f"--out {out}: is neither a video ({', '.join(VIDEOS)}) nor a folder without an ending")
    if out.suffix and not videos_can_be_written():
        raise UserError(f"--out {out}: videos need a package: pip install 'relief[video]'; a folder takes pictures")
    cameras = path_cameras(scene, bounds, path, frames, size)
    pictures = pictures_along(scene, cameras, ground_of(input))
    if out.suffix:
        write_video(_told(pictures, frames), out, frames_a_second)
    else:
        write_pictures(_told(pictures, frames), out)
    return out


def path_cameras(
    scene: Scene, bounds: Float[np.ndarray, "2 3"], path: PathName, frames: int, size: tuple[int, int]
) -> list[Camera]:
    """The cameras of a path through the scene, in its frame; `bounds` are the lowest and highest user coordinates.

    Raises:
        UserError: the path needs cameras that the scene has not.
    """
    photos = [one.camera for one in scene.cameras]
    if path == "cameras":
        if not photos:
            raise UserError("--path cameras: the run was not made of photos; --path orbit goes around what it made")
        return along(photos, frames, size)
    corners = scene.frame.from_user(np.stack(np.meshgrid(*bounds.T), -1).reshape(-1, 3))
    return orbit(corners, _up_in_frame(scene), photos, frames, size)


def pictures_along(scene: Scene, cameras: Sequence[Camera], ground: tuple[float, float, float]) -> Iterator[Picture]:
    """What the cameras see, one after the other: the splats with that colour behind them, or the mesh."""
    if scene.gaussians is not None:
        from recon.gaussians.tensors import to_splats
        from render.splats import render_image

        splats, antialiased = to_splats(scene.gaussians), scene.gaussians.antialiased
        for camera in cameras:
            yield to_bytes(render_image(splats, camera, ground, antialiased)[..., :3])
    else:
        mesh = joined(parts(scene))
        for camera in cameras:
            yield to_bytes(render_mesh(mesh, camera).over(backdrop(camera)))


def write_video(pictures: Iterable[Picture], path: Path, frames_a_second: int) -> None:
    """Writes H.264; an odd row or column of the pictures is left out, as the format asks for."""
    import av

    with replacing(path) as partial, av.open(str(partial), "w") as container:
        stream = None
        for picture in pictures:
            even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
            if stream is None:
                stream = container.add_stream("libx264", rate=frames_a_second, options={"crf": CRF})
                stream.height, stream.width, stream.pix_fmt = *even.shape[:2], "yuv420p"
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")):
                container.mux(packet)
        if stream is not None:
            for packet in stream.encode():
                container.mux(packet)


def write_pictures(pictures: Iterable[Picture], folder: Path) -> None:
    """Writes 0000.png, 0001.png, ...; a folder with other files in it is refused.

    Raises:
        UserError: the folder is not empty and holds other things than such pictures.
    """
    from PIL import Image

    others = [file.name for file in folder.iterdir() if not file.stem.isdecimal()] if folder.is_dir() else []
    if others or folder.is_file():
        raise UserError(f"--out {folder}: holds other things than pictures of a path; give another folder")
    with replacing(folder) as partial:
        partial.mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(partial / f"{number:04d}.png")


def _told(pictures: Iterator[Picture], frames: int) -> Iterator[Picture]:
    """The pictures, their progress shown on the error stream."""
    from recon.progress import Progress, shown

    with shown("pictures", frames) as show:
        for number, picture in enumerate(pictures):
            yield picture
            show(Progress("pictures", number + 1, frames, {}, None))


def _up_in_frame(scene: Scene) -> tuple[float, float, float]:
    x, y, z = np.array(scene.frame.up) @ scene.frame.rotation
    return float(x), float(y), float(z)


def videos_can_be_written() -> bool:
    """Whether PyAV is installed."""
    from importlib.util import find_spec

    return find_spec("av") is not None
