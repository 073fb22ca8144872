"""The page while a reconstruction runs: the newest preview, the progress, the losses.

Training does not wait for a browser: `show_scene` and `show_progress` only leave what they are given. A thread of the
page's own takes the newest, simplifies it and sends it. What goes wrong there is logged, and training goes on.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque

from app.kinds import MethodInput
from app.viewer.content import Content
from app.viewer.facts import facts, literal
from app.viewer.page import Page
from app.viewer.progress_panel import ProgressPanel
from app.viewer.server import directions, start_server
from app.viewer.serving import wait_for_interrupt
from app.viewer.splats import MOST_LIVE, page_gaussians
from app.viewer.surfaces import surfaces_of
from recon.progress import Progress
from recon.scene import Scene

UPDATE_SECONDS = 0.3  # the least time between two updates of the page
LONGEST_BACKLOG = 1000

logger = logging.getLogger(__name__)


class LivePreview:
    """A page on `host`:`port` that shows an input at once and previews of the reconstruction as they come.

    `show_scene` and `show_progress` fit `recon.training.Trainer`'s `on_preview` and `on_progress`. They return at once,
    raise nothing and may be called from any thread. A scene that was given must not be changed afterwards.

    Raises:
        UserError: as `start_server`, or the input is empty.
    """

    def __init__(self, name: str, input: MethodInput, host: str = "127.0.0.1", port: int = 8080):
        bounds = Content(name, Scene(), input).bounds()
        self._server = start_server(host, port)
        self.port = self._server.get_port()
        self.page = Page(self._server, bounds, input.unit, input.up, input)
        self.page.facts.content = f"**{literal(name)}**  \nis being reconstructed"
        self._panel = ProgressPanel(self._server)
        self._news = threading.Condition()
        self._scene: Scene | None = None
        self._progress: deque[Progress] = deque(maxlen=LONGEST_BACKLOG)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_showing, name="live preview", daemon=True)
        self._thread.start()
        print(directions(host, self.port), file=sys.stderr)

    def show_scene(self, scene: Scene) -> None:
        """Leaves a scene to be shown; one that is still waiting is replaced."""
        with self._news:
            self._scene = scene
            self._news.notify()

    def show_progress(self, progress: Progress) -> None:
        """Leaves a step's progress to be shown."""
        with self._news:
            self._progress.append(progress)
            self._news.notify()

    def finish(self, content: Content) -> None:
        """Shows the result with its facts and says that it is done. The page stays open until `close`."""
        self._stop_thread()
        surfaces = surfaces_of(content.scene, self.page.frame)
        self.page.show(surfaces)
        self.page.show_splats(page_gaussians(content.scene, self.page.frame))
        self.page.facts.content = facts(content, surfaces)
        self._panel.finish("done")

    def wait(self) -> None:
        """Keeps the page open until Ctrl-C."""
        wait_for_interrupt(self._server)

    def close(self) -> None:
        """Ends the page and its server."""
        self._stop_thread()
        self._server.stop()

    def _stop_thread(self) -> None:
        self._closing.set()
        with self._news:
            self._news.notify()
        self._thread.join()

    def _keep_showing(self) -> None:
        while not self._closing.wait(UPDATE_SECONDS):
            with self._news:
                self._news.wait_for(lambda: self._scene or self._progress or self._closing.is_set())
                scene, self._scene = self._scene, None
                progress = list(self._progress)
                self._progress.clear()
            try:
                self._panel.show(progress)
                if scene is not None:
                    self.page.show(surfaces_of(scene, self.page.frame))
                    self.page.show_splats(page_gaussians(scene, self.page.frame), MOST_LIVE)
            except Exception:
                logger.exception("The live preview stopped; the reconstruction goes on.")
                return
