"""`relief view`: serves a page until Ctrl-C."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from app.viewer.cleaning import CleaningPanel
from app.viewer.content import Content, load
from app.viewer.facts import facts
from app.viewer.page import Page
from app.viewer.recording import Recorder
from app.viewer.server import LocalServer, directions, start_server
from app.viewer.splats import page_gaussians
from app.viewer.surfaces import surfaces_of
from recon.formats import InputOptions


def serve(
    path: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    open_browser: bool = False,
    options: InputOptions | None = None,
) -> None:
    """Shows a run folder, a mesh file or an input (read with `options`) until Ctrl-C.

    Raises:
        UserError: the path cannot be shown, or the server cannot be had; the sentence says why.
    """
    content = load(path, options)
    server = start_server(host, port)
    open_page(server, content)
    print(directions(host, server.get_port()), "Ctrl-C stops it.", sep="\n", flush=True)
    if open_browser:
        webbrowser.open(f"http://localhost:{server.get_port()}")
    wait_for_interrupt(server)


def open_page(server: LocalServer, content: Content) -> Page:
    """Puts the content on the server's page.

    Raises:
        UserError: there is nothing to show.
    """
    page = Page(server, content.bounds(), content.unit, content.up, content.input)
    surfaces = surfaces_of(content.scene, page.frame)
    page.show(surfaces)
    gaussians = page_gaussians(content.scene, page.frame)
    page.show_splats(gaussians)
    if gaussians is not None and content.path is not None:
        CleaningPanel(page, gaussians, content.bounds(), content.path)
    if content.path is not None:
        Recorder(server, content)
    if content.reading is not None and page.input is not None:
        page.input.offer_options(content.name, content.reading)
    page.facts.content = facts(content, surfaces)
    return page


def wait_for_interrupt(server: LocalServer) -> None:
    """Waits for Ctrl-C, then ends the server."""
    try:
        server.sleep_forever()
    except KeyboardInterrupt:
        server.stop()
