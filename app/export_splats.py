"""`relief export` of splats: files for other viewers, and a page that can be shared."""

from __future__ import annotations

from pathlib import Path

from app.conversion import what_splats_lose
from app.viewer.content import Content
from recon.errors import UserError
from recon.files import replacing
from recon.formats.splats import write_splats
from recon.scene import Scene

SPLAT_SUFFIXES = {
    "splats-ply": ".ply",
    "splats-compressed": ".compressed.ply",
    "splats-glb": ".glb",
    "splat": ".splat",
    "spz": ".spz",
    "sog": ".sog",
}
SERVE = "python3 -m http.server 8000 --bind 127.0.0.1"


def write_splat_file(scene: Scene, to: str, path: Path) -> list[str]:
    """Writes the splats in the user's coordinates; gives a sentence for each thing that the format cannot hold.

    Raises:
        UserError: the path has another ending than the target's.
    """
    if not path.name.lower().endswith(SPLAT_SUFFIXES[to]) or (to == "splats-ply" and _is_compressed(path)):
        raise UserError(f"--out {path}: --to {to} writes files that end in {SPLAT_SUFFIXES[to]}")
    write_splats(scene, path)
    return what_splats_lose(scene, path)


def write_page(scene: Scene, name: str, folder: Path, signature: str) -> list[str]:
    """A folder with a page that shows the scene without Relief, and how to serve it: opened as a file, a browser draws
    the splats in a wrong order."""
    from app.viewer.server import start_server
    from app.viewer.serving import open_page

    server = start_server("127.0.0.1", 0)
    try:
        open_page(server, Content(name, scene))
        page = server.scene.as_html()
    finally:
        server.stop()
    with replacing(folder) as partial:
        partial.mkdir()
        (partial / "index.html").write_text(page, encoding="utf-8")
        (partial / "README.txt").write_text(_readme(name, signature), encoding="utf-8")
    return [f"to see it: {SERVE} --directory {folder}   and http://127.0.0.1:8000; splats do not sort from a file"]


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(SPLAT_SUFFIXES["splats-compressed"])


def _readme(name: str, signature: str) -> str:
    return f"""{signature} from {name}: a page that shows it in a browser.

Put this folder on any web server. To see it on this machine, run in this folder

    {SERVE}

and open http://127.0.0.1:8000. Opened as a file, without a server, the page draws splats in a wrong order.
"""
