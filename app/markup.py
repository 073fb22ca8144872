"""HTML and SVG, escaped by construction: a plain string becomes text, only what `element` gave is taken as markup."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from jaxtyping import Float32

from render.meshes import to_bytes

JPEG_QUALITY = 88
EMPTY = ("img", "meta", "rect", "line", "polyline")


class Markup(str):
    """Text that is markup already."""


Child = str | Markup | None


def element(tag: str, *children: Child, **attributes: str | float | None) -> Markup:
    """An element; attribute names lose a trailing "_" and get "-" for "_", those that are None are left out."""
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    opening = "".join([f"<{tag}", *(f' {name}="{html.escape(str(value))}"' for name, value in pairs)])
    return Markup(f"{opening} />" if tag in EMPTY else f"{opening}>{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Markup and escaped text, one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children if child))


def picture(image: Float32[np.ndarray, "h w 3"], alt: str) -> Markup:
    """An sRGB picture in [0, 1] as an img element that carries its own data."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return element("img", src=f"data:image/jpeg;base64,{data}", alt=alt, width=image.shape[1], height=image.shape[0])


def table(headings: list[str], rows: list[list[Child]]) -> Markup:
    """A table that scrolls sideways where it is too wide."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll")
