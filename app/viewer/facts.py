"""What the page says about its content, above the controls."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from app.kinds import kind_of
from app.viewer.content import Content
from app.viewer.surfaces import Surface
from recon.surface.boundary import boundary_of, in_words


def facts(content: Content, surfaces: Sequence[Surface]) -> str:
    """Name, size in the user's unit, what there is of meshes, splats and input, and what is not shown, as markdown."""
    low, high = content.bounds()
    unit = "(unit unknown)" if content.unit == "unknown" else content.unit
    lines = [f"**{literal(content.name)}**", " × ".join(_length(extent) for extent in high - low) + f" {unit}"]
    if surfaces:
        lines += _mesh_lines(content, surfaces)
    if content.scene.gaussians is not None:
        lines.append(f"{len(content.scene.gaussians):,} splats")
    if content.input is not None:
        lines.append(kind_of(content.input).size(content.input))
    lines += [f"*{literal(note)}*" for note in content.notes]
    return "  \n".join(lines)


def literal(text: str) -> str:
    """Markdown that shows the text as it stands: names and sentences from files may hold markup, even HTML."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def _length(value: float) -> str:
    """Four significant digits, without an exponent."""
    return f"{value:.4g}" if 1e-4 < value < 1e4 else f"{value:,.0f}" if value > 1 else f"{value:.2g}"


def _mesh_lines(content: Content, surfaces: Sequence[Surface]) -> list[str]:
    vertices = sum(len(mesh.vertices) for mesh in content.meshes)
    faces = sum(len(mesh.faces) for mesh in content.meshes)
    shown = sum(len(surface.preview.faces) for surface in surfaces)
    closed = sum(mesh.is_watertight for mesh in content.meshes)
    if len(content.meshes) == 1:
        watertight = "watertight" if closed else "not watertight"
    else:
        watertight = f"{closed} of {len(content.meshes)} surfaces watertight"
    loops = np.concatenate([boundary_of(mesh).lengths for mesh in content.meshes])
    if len(loops):
        watertight += f": {in_words(len(loops), _length(float(loops.sum()) * content.scene.frame.scale))}"
    lines = [f"{vertices:,} vertices, {faces:,} faces", watertight]
    if shown < faces:
        lines.append(f"*shown with {shown:,} faces; sections are cut from all*")
    return lines
