"""The folder "Video": renders a camera path here and hands the video to the browser that asked for it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import viser

from app.heldout import ground_of
from app.rendering import Picture, path_cameras, pictures_along, videos_can_be_written, write_video
from app.viewer.content import Content

SIZE = (960, 540)
FRAMES_A_SECOND = 24


class Recorder:
    """A path, its length and a button; one video at a time."""

    def __init__(self, server: viser.ViserServer, content: Content):
        self._content, self._lock = content, threading.Lock()
        paths = ("orbit", "cameras") if content.scene.cameras else ("orbit",)
        with server.gui.add_folder("Video", order=4.5, expand_by_default=False):
            self.path = server.gui.add_dropdown("Path", paths)
            self.seconds = server.gui.add_slider("Seconds", 1, 30, 1, 5)
            button = server.gui.add_button("Render and download", disabled=not videos_can_be_written())
            self.said = server.gui.add_markdown(
                "" if videos_can_be_written() else "Videos need `pip install 'relief[video]'`."
            )
        button.on_click(lambda event: self._record(event.client))

    def _record(self, client: viser.ClientHandle | None) -> None:
        if client is None or not self._lock.acquire(blocking=False):
            return
        try:
            scene, frames = self._content.scene, self.seconds.value * FRAMES_A_SECOND
            cameras = path_cameras(scene, self._content.bounds(), self.path.value, frames, SIZE)
            ground = ground_of(self._content.input)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"{self.path.value}.mp4"
                write_video(self._counted(pictures_along(scene, cameras, ground), frames), file, FRAMES_A_SECOND)
                client.send_file_download(file.name, file.read_bytes())
            self.said.content = f"{self.path.value}.mp4 is done."
        finally:
            self._lock.release()

    def _counted(self, pictures: Iterator[Picture], frames: int) -> Iterator[Picture]:
        for number, picture in enumerate(pictures):
            self.said.content = f"Picture {number + 1} of {frames}."
            yield picture
