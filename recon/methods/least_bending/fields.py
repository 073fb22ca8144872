"""The fields of least bending from outlines on planes: what is asked of them, and in which order they are solved.

With the unit of length s, the spacing of the planes, and h the step of the lattice, the energy of a field f is

    sum_planes  integral w(v) (f - v)^2  +  sum_contours 40 h integral f^2
        +  lambda s^3 integral (Laplace f)^2  +  tau lambda s^5 integral |grad Laplace f|^2

in lattice units (`recon.fields.least_bending`), where on a plane

    v = +-min(in-plane distance, D)     D: distance in space to the nearest contour of any plane (the cap)
    w(v) = (1 + (v / kappa s)^2)^-2     far from the contours a plane knows the side but hardly the distance

An in-plane distance overstates the distance to a slanted surface. So after a first solution the values are drawn
towards the distance to its zero set (re-distancing), to no less than half of what they were. A field that still falls
short of a value on the right side follows other planes, which know better: such a value is doubted,

    w / (1 + (shortfall / delta s)^2)^2,       shortfall = |v| - sign(v) f,  from 0 to |v|

and the energy is solved for again. Where planes agree, as parallel ones mostly do, nothing is doubted. Contours of thin
parts survive because values near contours keep all their weight and because lambda is small.

Where planes say nothing, small tunnels and gaps are accidents of the interpolation. Those that cost the field least to
close and that no plane shows are closed (`recon.fields.topology`) by rows of their own, which ask for as much depth on
the other side as the field had on this one: what it hardly meant is hardly moved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.spatial import ConvexHull, Delaunay, KDTree

from recon.errors import UserError
from recon.fields.closest import ClosestPoints
from recon.fields.least_bending import Lattice, Rows, copy_border, refine, solve, zero_crossings
from recon.fields.topology import connected_parts, simplifications
from recon.planar import Outline, distance_to_segments, inside_on_lattice, samples
from recon.scene import Frame, Scene
from recon.slices import BACKGROUND, Label
from recon.surface.marching import isosurface

CELLS_BETWEEN = 16
CHANGE_WEIGHT = 5.0  # of a row that changes the topology
CHANGE_DEPTHS = (0.25, 1.0)  # least and greatest value of such a row, in steps of the lattice
CHANGE_ITERATIONS = 40


@dataclass(frozen=True)
class Recipe:
    """The parameters of the energy; the defaults are what users get, others are for ablations."""

    bending: float = 3e-6  # lambda
    twist: float = 1.0  # tau
    trust: float = 0.18  # kappa
    contour_weight: float = 40.0
    floor: float = 0.5  # of a value, which re-distancing leaves
    doubt: float = 0.2  # delta
    cap: bool = True
    redistance: tuple[int, ...] = (0, 1, 0)  # rounds at each level, from the coarsest
    iterations: tuple[int, ...] = (400, 200, 100)
    depths: tuple[float, ...] = (0.05, 0.12, 0.3)  # of s, that a tunnel or gap may have to be closed
    margin: float = 1.5  # of s, around the contours' box: a part may go on for about one spacing beyond the last plane

    @property
    def levels(self) -> int:
        """How many lattices, each of half the step of the one before."""
        return len(self.iterations)


@dataclass(frozen=True)
class LabelField:
    """A field on a lattice, negative inside its label."""

    lattice: Lattice
    values: Float32[np.ndarray, "nx ny nz"]


class FieldsStage:
    """Solves one field per region, level by level; a step is one level of one region.

    With `shared` all regions live on one lattice around all contours, else each on one around its own.
    """

    name = "fields"

    def __init__(
        self,
        regions: dict[int, list[Outline]],
        resolution: int,
        shared: bool,
        frame: Frame,
        names: tuple[Label, ...],
        recipe: Recipe | None = None,
    ) -> None:
        self.recipe = recipe or Recipe()
        self.frame, self.names = frame, names
        self.labels = list(regions)
        self.steps = len(regions) * self.recipe.levels
        self.problems = {}
        everything = [outline for outlines in regions.values() for outline in outlines]
        box = _Box.around(everything, resolution, self.recipe) if shared else None
        for label, outlines in regions.items():
            own = box or _Box.around(outlines, resolution, self.recipe)
            self.problems[label] = _Problem(outlines, own, self.recipe, inverted=label == BACKGROUND)
        self.solved: dict[int, Float32[np.ndarray, "nx ny nz"]] = {}

    @property
    def memory(self) -> float:
        """About how many bytes the work takes at its peak: the fields of all regions, and, for one of them, either the
        solver's lattices and rows or the lattice that is refined for the surface."""
        nodes = [float(np.prod(problem.lattices[-1].shape)) for problem in self.problems.values()]
        return 4 * sum(nodes) + 150 * max(nodes)

    def step(self, i: int) -> dict[str, float]:
        """Solves level i mod levels of region i // levels."""
        region, level = divmod(i, self.recipe.levels)
        label = self.labels[region]
        field, misfit = self.problems[label].solved_at(level, self.solved.get(label))
        self.solved[label] = field
        return {"contour misfit (cells)": misfit}

    def state_dict(self) -> dict[str, np.ndarray]:
        return {f"field-{label}": field for label, field in self.solved.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.solved = {label: state[f"field-{label}"] for label in self.labels if f"field-{label}" in state}

    def preview(self) -> Scene | None:
        """The zero sets so far, each on the level that it has reached."""
        objects = {}
        for label in self.names:
            if label.id in self.solved:
                field = self.solved[label.id]
                lattice = self.problems[label.id].lattice_of(field)
                x, y, z = lattice.origin
                objects[label.name] = isosurface(field, spacing=(lattice.step,) * 3, origin=(x, y, z))
        return Scene(objects=objects, labels=self.names, frame=self.frame) if objects else None

    def result(self) -> dict[int, LabelField]:
        return {label: LabelField(self.problems[label].lattices[-1], self.solved[label]) for label in self.labels}


@dataclass(frozen=True)
class _Box:
    """The lattices of all levels around some outlines, and the unit of length s."""

    lattices: list[Lattice]
    spacing: float

    @classmethod
    def around(cls, outlines: list[Outline], resolution: int, recipe: Recipe) -> _Box:
        """The finest lattice has `resolution` cells along 1.2 times the longest side, but no more than CELLS_BETWEEN
        from plane to plane: a small label on few planes has nothing to show on more."""
        corners = np.concatenate([outline.segments_3d[:, 0] for outline in outlines])
        low, high = corners.min(0), corners.max(0)
        spacing = plane_spacing(outlines)
        margin = recipe.margin * spacing
        step = max(1.2 * float((high - low).max()) / resolution, spacing / CELLS_BETWEEN)
        lattices = [Lattice.around(low - margin, high + margin, step, recipe.levels)]
        for _ in range(recipe.levels - 1):
            lattices.append(lattices[-1].refined())
        # planes closer together than that tell the lattice all it can hold
        return cls(lattices, max(spacing, 4 * step))


class _Problem:
    """One region: its outlines, its lattices, and the energy on them. Where it is `inverted` (the background), the
    outlines go around what it is not."""

    def __init__(self, outlines: list[Outline], box: _Box, recipe: Recipe, inverted: bool) -> None:
        self.outlines, self.recipe, self.inverted = outlines, recipe, inverted
        self.lattices, self.spacing = box.lattices, box.spacing

    def lattice_of(self, field: Float32[np.ndarray, "nx ny nz"]) -> Lattice:
        """The lattice that a field of this shape stands on."""
        return next(lattice for lattice in self.lattices if lattice.shape == field.shape)

    def solved_at(
        self, level: int, coarser: Float32[np.ndarray, "nx ny nz"] | None
    ) -> tuple[Float32[np.ndarray, "nx ny nz"], float]:
        """The field on the lattice of a level, from that of the level before, and its mean size on the contours."""
        lattice, recipe = self.lattices[level], self.recipe
        knowledge = _Knowledge(self.outlines, lattice, self.lattices[0].step / 4, recipe, self.spacing, self.inverted)
        far = knowledge.closest.distance_at_nodes()
        outside = -far if self.inverted else far
        field = outside.copy() if coarser is None else refine(coarser)
        copy_border(field, outside)
        rows, values = knowledge.rows, knowledge.values
        for n in range(1 + recipe.redistance[level]):
            if level > 0 or n > 0:
                values = self._redistanced(field, far, knowledge)
                rows = knowledge.doubted(field, values, recipe.doubt * self.spacing)
            field = self._solved(field, rows, values, lattice, recipe.iterations[level])
        if level == recipe.levels - 1 and recipe.depths:
            field = self._simplified(field, knowledge, rows, values)
        field = _without_unsupported_pockets(field, far, knowledge)
        return field, knowledge.misfit(field)

    def _solved(
        self,
        field: Float32[np.ndarray, "nx ny nz"],
        rows: Rows,
        values: Float32[np.ndarray, " m"],
        lattice: Lattice,
        iterations: int,
    ) -> Float32[np.ndarray, "nx ny nz"]:
        """The field of least energy with these values at the rows."""
        reach = self.spacing / lattice.step
        bending = self.recipe.bending * reach**3
        return solve(field, rows, values, bending, self.recipe.twist * self.recipe.bending * reach**5, iterations)

    def _simplified(
        self,
        field: Float32[np.ndarray, "nx ny nz"],
        knowledge: _Knowledge,
        rows: Rows,
        values: Float32[np.ndarray, " m"],
    ) -> Float32[np.ndarray, "nx ny nz"]:
        """The field with fewer parts, tunnels and cavities where no plane shows them: where they are closed, rows ask
        for inside, and where handles are cut, for outside."""
        lattice = knowledge.lattice
        inside, outside = knowledge.touched(inside=True), knowledge.touched(inside=False)
        depths = tuple(depth * self.spacing for depth in self.recipe.depths)
        fills, cuts = simplifications(field, inside & ~outside, outside & ~inside, depths)
        changed = np.argwhere(fills | cuts)
        if not len(changed):
            return field
        at = tuple(changed.T)
        least, greatest = (depth * lattice.step for depth in CHANGE_DEPTHS)
        wanted = np.where(fills[at], -1, 1) * np.clip(np.abs(field[at]), least, greatest)
        changes = Rows.at(lattice.origin + lattice.step * changed, np.full(len(changed), CHANGE_WEIGHT), lattice)
        values = np.concatenate([values, wanted.astype(np.float32)])
        return self._solved(field, rows.joined(changes), values, lattice, CHANGE_ITERATIONS)

    def _redistanced(
        self, field: Float32[np.ndarray, "nx ny nz"], far: Float32[np.ndarray, "nx ny nz"], knowledge: _Knowledge
    ) -> Float32[np.ndarray, " m"]:
        """The rows' values, drawn towards the distance to the field's zero set and the contours."""
        field = _without_unsupported_pockets(field, far, knowledge)
        zero = np.concatenate([zero_crossings(field, knowledge.lattice), knowledge.contour_points])
        original = np.abs(knowledge.values)
        nearest = zero[ClosestPoints(zero, knowledge.lattice).of(knowledge.points)]
        distance = np.linalg.norm(nearest - knowledge.points, axis=1).astype(np.float32)
        return np.sign(knowledge.values) * np.clip(distance, self.recipe.floor * original, original)


class _Knowledge:
    """What the planes say on one lattice: rows with points, signed values and weights; contours have value 0."""

    def __init__(
        self,
        outlines: list[Outline],
        lattice: Lattice,
        sampling: float,
        recipe: Recipe,
        spacing: float,
        inverted: bool,
    ) -> None:
        self.lattice = lattice
        dense = [samples(outline, sampling) for outline in outlines]
        self.contour_points = np.concatenate([points for points, _, _ in dense])
        self._segments = np.concatenate(
            [outline.segments_3d[segment] for outline, (_, _, segment) in zip(outlines, dense, strict=True)]
        )
        self.closest = ClosestPoints(self.contour_points, lattice)

        step = lattice.step * _thinning(outlines, lattice)
        on_planes = [_plane_nodes(outline, lattice, step) for outline in outlines]
        points = np.concatenate([nodes for nodes, _ in on_planes])
        inside = np.concatenate([side for _, side in on_planes])
        size = self.distance(points)
        if not recipe.cap:
            size = np.concatenate(
                [_in_plane_distance(nodes, outline) for outline, (nodes, _) in zip(outlines, on_planes, strict=True)]
            )
        weight = (step / lattice.step) ** 2 / (1 + (size / (recipe.trust * spacing)) ** 2) ** 2

        on_contours = [samples(outline, lattice.step / 2) for outline in outlines]
        contour = np.concatenate([points for points, _, _ in on_contours])
        length = np.concatenate([length for _, length, _ in on_contours])

        self.points = np.concatenate([points, contour])
        self.values = np.concatenate([np.where(inside != inverted, -size, size), np.zeros(len(contour))]).astype(
            np.float32
        )
        weight = np.concatenate([weight, recipe.contour_weight * length / lattice.step])
        self.rows = Rows.at(self.points, weight, lattice)
        self.plane_rows = len(points)

    def distance(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
        """The distance in space to the contours: to the segment of the nearest sample."""
        return distance_to_segments(points, self._segments[self.closest.of(points)])

    def touched(self, inside: bool) -> Bool[np.ndarray, "nx ny nz"]:
        """The nodes around the rows that are inside (or outside) or on a contour."""
        support = self.rows.cell[(self.values <= 0) if inside else (self.values >= 0)]
        mask = np.zeros(self.lattice.shape, bool)
        for corner in np.ndindex(2, 2, 2):
            mask[tuple((support + corner).T)] = True
        return mask

    def doubted(self, field: Float32[np.ndarray, "nx ny nz"], values: Float32[np.ndarray, " m"], scale: float) -> Rows:
        """The rows, with less weight where the field falls short of these values by `scale` and more. Rows on whose
        wrong side the field lies keep their weight, and so do contours."""
        side = np.sign(values)
        reached = side * self._on_rows(field)
        shortfall = np.where(reached > 0, np.maximum(side * values - reached, 0), 0)
        return replace(self.rows, weight=self.rows.weight / (1 + (shortfall / np.float32(scale)) ** 2) ** 2)

    def misfit(self, field: Float32[np.ndarray, "nx ny nz"]) -> float:
        """The mean absolute field on the contours, in cells."""
        return float(np.abs(self._on_rows(field)[self.plane_rows :]).mean()) / self.lattice.step

    def _on_rows(self, field: Float32[np.ndarray, "nx ny nz"]) -> Float32[np.ndarray, " m"]:
        """The field at the rows' points."""
        from scipy.ndimage import map_coordinates

        return map_coordinates(field, (self.rows.cell + self.rows.place).T, order=1)


def plane_spacing(outlines: list[Outline]) -> float:
    """The unit of length s: what parallel planes are apart, and for any others the spacing of parallel planes that
    would leave the contours' convex hull as empty (95 % of it is within 0.475 s of a plane).

    Raises:
        UserError: all contours lie in one plane.
    """
    corners = np.concatenate([outline.segments_3d[:, 0] for outline in outlines])
    try:
        hull = ConvexHull(corners)
    except Exception as flat:  # Qhull's error is no subclass of anything narrower
        raise UserError("the contours lie in one plane; at least two planes must show a label") from flat
    hull_corners = corners[hull.vertices]
    low, high = corners.min(0), corners.max(0)
    # points spread evenly by multiples of the inverse powers of the plastic number's three-dimensional kin
    spread = low + (high - low) * ((0.5 + np.outer(np.arange(20_000), 1.2207440846057596 ** -np.arange(1.0, 4))) % 1.0)
    within = spread[Delaunay(hull_corners).find_simplex(spread) >= 0]
    nearest = np.full(len(within), np.inf)
    for outline in outlines:
        np.minimum(nearest, np.abs((within - outline.origin) @ outline.normal), out=nearest)
    return float(np.quantile(nearest, 0.95)) / 0.475


def _thinning(outlines: list[Outline], lattice: Lattice) -> float:
    """How much coarser than the lattice planes are sampled, so that their samples number at most twice its nodes."""
    area = len(outlines) * float(np.sort((np.array(lattice.shape) - 1) * lattice.step)[1:].prod())
    return max(1.0, (area / lattice.step**2 / (2 * np.prod(lattice.shape))) ** 0.5)


def _plane_nodes(
    outline: Outline, lattice: Lattice, step: float
) -> tuple[Float64[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """A square lattice over the plane's part in the lattice's box, and which of its nodes are inside the outline."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (lattice.end - lattice.origin) + lattice.origin
    flat = (corners - outline.origin) @ outline.axes.T
    first, last = flat.min(0), flat.max(0)
    shape = (int((last[0] - first[0]) / step) + 1, int((last[1] - first[1]) / step) + 1)
    inside = inside_on_lattice(outline.segments, (first[0], first[1]), step, shape)
    u, v = first[0] + step * np.arange(shape[0]), first[1] + step * np.arange(shape[1])
    nodes = outline.origin + u[:, None, None] * outline.axes[0] + v[None, :, None] * outline.axes[1]
    kept = ((nodes > lattice.origin) & (nodes < lattice.end)).all(-1)
    return nodes[kept], inside[kept]


def _in_plane_distance(points: Float64[np.ndarray, "n 3"], outline: Outline) -> Float64[np.ndarray, " n"]:
    """The distance to the plane's own contours; a plane without any is everywhere as far as its points are apart."""
    if not len(outline.segments):
        return np.full(len(points), float(np.ptp(points, axis=0).max()))
    along = outline.segments[:, 1] - outline.segments[:, 0]
    dense, _, segment = samples(outline, max(float(np.linalg.norm(along, axis=1).mean()), 1e-9))
    nearest = KDTree(dense).query(points)[1]
    return distance_to_segments(points, outline.segments_3d[segment[nearest]])


def _without_unsupported_pockets(
    field: Float32[np.ndarray, "nx ny nz"], far: Float32[np.ndarray, "nx ny nz"], knowledge: _Knowledge
) -> Float32[np.ndarray, "nx ny nz"]:
    """The field, no larger than the distance to the contours, without inside parts that no plane shows inside and
    without outside ones that none shows outside."""
    field = np.clip(field, -far, far)
    for sign in (-1, 1):
        parts, count = connected_parts(sign * field > 0)
        supported = np.zeros(count + 1, bool)
        supported[np.unique(parts[knowledge.touched(inside=sign < 0)])] = True
        alone = ~supported[parts] & (parts > 0)
        field[alone] = -sign * 1e-3 * far[alone]
    return field
