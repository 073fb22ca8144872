"""CSL: planar contours of labelled regions, as text (Sawdayee, Vaxman, Bermano: OReX, and the slicers before it).

    file      := "CSLC"  nPlanes nLabels  plane{nPlanes}
    plane     := planeId nVerts nComps A B C D   vertex{nVerts}   component{nComps}
    vertex    := x y z
    component := count["h" parent] label index{count}

One record a line, blank lines anywhere. A component is a closed ring of `count` indices into the plane's vertices; "h"
makes it a hole in component `parent`. The file is trusted for its vertices and its "h" alone: in the files that exist
D has either sign, (A, B, C) any length, nLabels any value, rings any orientation, and holes carry labels of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.labels import label_table
from recon.formats.outlines import PlaneFit, Remarks, fit_plane, in_plane_axes, mend_rings
from recon.formats.untrusted import LARGEST_COORDINATE, are_coordinates, read_whole
from recon.inputs import CrossSections
from recon.slices import Plane, Ring

MAX_LABEL = 65_535
SHORTEST_NORMAL = 1e-9
OFF_PLANE_REFUSED = 1e-2  # of the extent
OFF_PLANE_REMARKED = 1e-3


@dataclass(frozen=True)
class _Component:
    indices: Int[np.ndarray, "n"]
    label: int
    parent: int | None


@dataclass(frozen=True)
class _WrittenPlane:
    """A plane as the file has it; `equation` is A, B, C, D, `line` where it starts."""

    name: str
    line: int
    equation: Float64[np.ndarray, "4"]
    vertices: Float64[np.ndarray, "n 3"]
    components: tuple[_Component, ...]


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The cross-sections of a CSL file, in its own coordinates.

    Raises:
        UserError: with the line: the file does not follow the grammar, holds fewer than two planes, no contour at all,
            a vertex that is not finite or a plane whose vertices are not planar.
    """
    declared_labels, written = _parse(_Lines(path))
    if len(written) < 2:
        raise UserError(f"{path}: holds {len(written)} plane(s); a shape between planes needs at least two")
    if not any(plane.components for plane in written):
        raise UserError(f"{path}: none of its {len(written)} planes holds a contour; at least one must")
    everything = np.concatenate([plane.vertices for plane in written])
    extent = float(np.ptp(everything, axis=0).max()) if len(everything) else 0.0
    if extent == 0:
        raise UserError(f"{path}: all vertices are the same point; contours need an extent")

    remarks = Remarks(path)
    raised = _raise_labels(written, path, remarks)
    placed = _place_planes(written, everything.mean(0), extent, remarks)
    planes = [
        replace(plane, rings=mend_rings(_rings(source, plane, raised), extent, remarks, source.name))
        for source, plane in zip(written, placed, strict=True)
    ]
    used = {ring.label for plane in planes for ring in plane.rings}
    if not used:
        raise UserError(f"{path}: none of its contours encloses an area")
    notes = remarks.sentences()
    if declared_labels != len(used):
        notes += (f"The header declares {declared_labels} labels; the contours use {len(used)}.",)
    return CrossSections(label_table(used), tuple(planes), unit=options.unit or "unknown", notes=notes)


class _Lines:
    """The file's lines that are not blank, one after the other, with their numbers."""

    def __init__(self, path: Path) -> None:
        text = read_whole(path).decode("utf-8-sig", errors="replace")
        self.path = path
        self._lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        self._next = 0

    def left(self) -> int:
        return len(self._lines) - self._next

    def take(self, what: str) -> tuple[int, list[str]]:
        """The next line's number and tokens; `what` says what should stand there."""
        if not self.left():
            raise UserError(f"{self.path}: the file ends where {what} should follow; it is cut short")
        self._next += 1
        return self._lines[self._next - 1]

    def take_vertices(self, count: int, plane: str) -> Float64[np.ndarray, "n 3"]:
        """The next `count` lines as points."""
        if count > self.left():
            raise UserError(f"{self.path}: {plane} promises {count} vertices, but only {self.left()} lines follow")
        lines = self._lines[self._next : self._next + count]
        self._next += count
        for number, tokens in lines:
            if len(tokens) != 3:
                raise self.wrong(number, f"a vertex is three numbers; here stand {len(tokens)} words")
        try:
            points = np.array([tokens for _, tokens in lines], np.float64).reshape(-1, 3)
        except ValueError:
            number = next(number for number, tokens in lines if not all(map(_is_number, tokens)))
            raise self.wrong(number, "a vertex is three numbers") from None
        if not are_coordinates(points):
            number = next(
                number for (number, _), point in zip(lines, points, strict=True) if not are_coordinates(point)
            )
            raise self.wrong(number, f"a vertex is three numbers of at most {LARGEST_COORDINATE:g}, no NaN or infinity")
        return points

    def wrong(self, number: int, rule: str) -> UserError:
        return UserError(f"{self.path}, line {number}: {rule}")


def _parse(lines: _Lines) -> tuple[int, list[_WrittenPlane]]:
    """The number of labels that the header declares, and the planes."""
    number, tokens = lines.take("CSLC")
    if tokens != ["CSLC"]:
        raise lines.wrong(number, "a CSL file starts with the word CSLC")
    number, tokens = lines.take("the number of planes")
    counts = _integers(tokens)
    if counts is None or len(counts) != 2 or min(counts) < 0:
        raise lines.wrong(number, "two counts should stand here, of planes and of labels")
    planes = []
    for index in range(counts[0]):
        planes.append(_parse_plane(lines, f"plane {index + 1} of {counts[0]}"))
    if lines.left():
        number, _ = lines.take("")
        raise lines.wrong(number, f"the file goes on after the last of the {counts[0]} planes that its header promises")
    return counts[1], planes


def _parse_plane(lines: _Lines, position: str) -> _WrittenPlane:
    number, tokens = lines.take(position)
    counts, equation = _integers(tokens[:3]), tokens[3:]
    if (
        counts is None
        or len(counts) != 3
        or min(counts[1:]) < 0
        or len(equation) != 4
        or not all(map(_is_number, equation))
    ):
        raise lines.wrong(number, f"{position} should start here: its id, two counts, and A B C D")
    name = f"plane {counts[0]}"
    vertices = lines.take_vertices(counts[1], f"{name} (line {number})")
    components = tuple(_parse_component(lines, len(vertices), counts[2], name) for _ in range(counts[2]))
    if any(part.parent is not None and components[part.parent].parent is not None for part in components):
        raise lines.wrong(
            number, f"{name} has a hole whose parent is a hole; the parent should be the region around it"
        )
    return _WrittenPlane(name, number, np.array(equation, np.float64), vertices, components)


def _parse_component(lines: _Lines, vertex_count: int, component_count: int, plane: str) -> _Component:
    number, tokens = lines.take(f"a contour of {plane}")
    count, hole, parent = tokens[0].partition("h")
    numbers = _integers([count, *([parent] if hole else []), *tokens[1:]])
    if numbers is None or len(tokens) < 2:
        raise lines.wrong(
            number, f"a contour of {plane} should stand here: whole numbers, count[h parent] label indices"
        )
    head = 3 if hole else 2
    indices = np.array(numbers[head:], np.int64)
    if len(indices) != numbers[0]:
        raise lines.wrong(number, f"the contour promises {numbers[0]} vertices and lists {len(indices)}")
    if len(indices) and not 0 <= indices.min() <= indices.max() < vertex_count:
        raise lines.wrong(number, f"the contour names a vertex beyond the {vertex_count} of {plane}")
    if hole and not 0 <= numbers[1] < component_count:
        raise lines.wrong(
            number, f"the hole's parent {numbers[1]} is none of the {component_count} contours of {plane}"
        )
    return _Component(indices, numbers[head - 1], numbers[1] if hole else None)


def _integers(tokens: Sequence[str]) -> list[int] | None:
    """The tokens as 64-bit integers; None where one is not."""
    try:
        numbers = [int(token) for token in tokens]
    except ValueError:
        return None
    return numbers if all(-(2**63) <= number < 2**63 for number in numbers) else None


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _raise_labels(written: Sequence[_WrittenPlane], path: Path, remarks: Remarks) -> int:
    """What must be added to the file's labels so that all regions have positive ones."""
    labels = [part.label for plane in written for part in plane.components if part.parent is None]
    if not labels:
        raise UserError(f"{path}: every contour is a hole; at least one must enclose a region")
    raised = max(0, 1 - min(labels))
    if max(labels) + raised > MAX_LABEL:
        raise UserError(f"{path}: label {max(labels)} is too large; labels from 1 to {MAX_LABEL} can be kept")
    if raised:
        remarks.add(f"Labels start at {min(labels)} and are raised by {raised}, for 0 is the background", "whole file")
    return raised


def _place_planes(
    written: Sequence[_WrittenPlane], centre: Float64[np.ndarray, "3"], extent: float, remarks: Remarks
) -> list[Plane]:
    """The planes, without rings: fitted to the vertices where they determine them, else from the equation.

    A plane without vertices can only be believed; the sign of D that fits the other planes better is taken for it.
    """
    as_written, mirrored = (sum(_off_equation(plane, sign) for plane in written) for sign in (1.0, -1.0))
    sign = 1.0 if as_written <= mirrored else -1.0
    placed = []
    for plane in written:
        if _off_equation(plane, 1) > OFF_PLANE_REMARKED * extent:
            remarks.add("Planes whose vertices lie off their equation (placed by the vertices)", plane.name)
        if not plane.components:
            remarks.add("Planes without contours, read as knowledge that nothing is there", plane.name)
        origin, normal = _place(plane, sign, centre, extent, remarks)
        placed.append(Plane(origin, in_plane_axes(normal)))
    return placed


def _place(
    plane: _WrittenPlane, sign: float, centre: Float64[np.ndarray, "3"], extent: float, remarks: Remarks
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """A point of the plane and its unit normal, on the side of the written normal."""
    normal, offset = _unit_equation(plane, sign)
    fit = fit_plane(plane.vertices) if len(plane.vertices) >= 3 else None
    if fit is not None and fit.deviation > OFF_PLANE_REFUSED * extent:
        raise remarks.wrong(
            f"line {plane.line}",
            f"the vertices of {plane.name} lie up to {fit.deviation:.3g} off their best plane, more than "
            f"{OFF_PLANE_REFUSED:.0%} of the extent {extent:.4g}; contours must be planar",
        )
    if fit is not None and _determines(fit, extent):
        return fit.origin, -fit.normal if normal is not None and fit.normal @ normal < 0 else fit.normal
    if normal is None:
        raise remarks.wrong(f"line {plane.line}", f"{plane.name} has no normal: A B C should be a direction")
    origin = plane.vertices.mean(0) if len(plane.vertices) else centre - (normal @ centre + offset) * normal
    return origin, normal


def _determines(fit: PlaneFit, extent: float) -> bool:
    """Whether the vertices spread enough in two directions, against their noise, to tell the plane's normal."""
    return fit.breadth > max(10 * fit.noise, 1e-8 * extent)


def _unit_equation(plane: _WrittenPlane, sign: float) -> tuple[Float64[np.ndarray, "3"] | None, float]:
    """Unit normal and offset of the written equation, D taken with this sign; no normal where A, B, C are all 0."""
    if not are_coordinates(plane.equation):
        return None, 0.0
    length = float(np.linalg.norm(plane.equation[:3]))
    if length < SHORTEST_NORMAL:
        return None, 0.0
    return plane.equation[:3] / length, sign * float(plane.equation[3]) / length


def _off_equation(plane: _WrittenPlane, sign: float) -> float:
    """The largest distance of a vertex from the written plane, D taken with this sign; 0 where there is no plane."""
    normal, offset = _unit_equation(plane, sign)
    return 0.0 if normal is None else float(np.abs(plane.vertices @ normal + offset).max(initial=0))


def _rings(source: _WrittenPlane, plane: Plane, raised: int) -> list[Ring]:
    """The components in the plane's coordinates; a hole takes the label of the region that it lies in."""
    points = plane.to_plane(source.vertices)
    rings = []
    for component in source.components:
        region = component if component.parent is None else source.components[component.parent]
        rings.append(Ring(points[component.indices], region.label + raised, component.parent is not None))
    return rings
