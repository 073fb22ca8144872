"""From points to the sheets they lie on, and from those to a surface: open or closed, in seconds.

Noise is taken off the points and a sheet with an axis fitted at each (`recon.fields.local_fits`); a field of these
sheets is asked on an adaptive lattice which of its edges the surface crosses, and a mesh put through the crossings ends
where the samples end (`recon.surface.sheets`).

A large cloud is worked on in blocks of space (`recon.fields.blocks`), each with the points around it: first the sheets
of every block are fitted, then the surface is made tile by tile and welded (`recon.surface.sheets.welding`). Memory is
that of one tile, besides points and mesh. Every block is a stage of its own, so a run that was stopped goes on with the
block it was at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from jaxtyping import Float32, Float64, Int32

from recon.errors import UserError
from recon.fields.blocks import SPARSE_QUANTILE, Blocks
from recon.fields.local_fits import Sheets, fit_sheets
from recon.fields.sheet_field import SheetField
from recon.fields.upsampling import upsample
from recon.inputs import PointCloud
from recon.limits import Cost
from recon.scene import Frame, Scene
from recon.surface.colors import carried, colors_at
from recon.surface.sheets import OFF_GRID, Surface, base_step, surface_of
from recon.surface.sheets.borders import Mesh
from recon.surface.sheets.tiles import MARGIN, Tile
from recon.surface.sheets.welding import welded

if TYPE_CHECKING:
    import trimesh

    from recon.training import Trainer

FEWEST = 10
MOST_AT_ONCE = 250_000  # points, in 2 GB; more are worked on in blocks, which with what is around them cost more
MOST_IN_A_BLOCK = 150_000
FIT_MARGIN = 20.0  # spacings around a block: the largest patch under noise, and the evidence for its size
MEGABYTES, MEGABYTES_A_POINT_AT_ONCE, MEGABYTES_A_POINT = 280, 6e-3, 0.2e-3  # measured, at standard quality
SECONDS_A_POINT = 85e-6
STEPS = {"draft": 1.7, "standard": 1.25, "high": 1.0}


class SheetsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Surfaces from points."""

    step: Annotated[float, msgspec.Meta(ge=0.7, le=10)] = STEPS["standard"]
    """Size of the mesh's faces, in local spacings of the points."""
    closed: bool = False
    """The thing is closed: the mesh will be watertight. By default that is found out."""
    open: bool = False
    """The thing is open: the mesh ends where the points end."""
    upsample: Annotated[float, msgspec.Meta(ge=1, le=64)] | None = None
    """Also write points with normals: 1 the input's, moved onto their sheets; 16 about sixteen times as many."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> SheetsConfig:
        """The config of a quality."""
        return cls(step=STEPS[quality])

    @property
    def wanted(self) -> bool | None:
        """Whether the surface is to be closed; None where that is to be found out."""
        return True if self.closed else False if self.open else None


def sheets(cloud: PointCloud, config: SheetsConfig, train: Trainer) -> Scene:
    """One mesh, open or closed (which, and why, stands in the notes), and points with normals where asked for.

    Raises:
        UserError: the cloud has too few distinct points, or `closed` and `open` are both asked for.
    """
    import trimesh

    if config.closed and config.open:
        raise UserError("--closed and --open: choose one; with neither, the method decides")
    frame = Frame.fitting(cloud.points, cloud.unit, cloud.up)
    local = replace(cloud, points=frame.from_user(cloud.points))
    if len(local.points) <= MOST_AT_ONCE:
        fitted = train(_Fit(local.points))
        _require_enough(len(fitted.points))
        found = train(_Surface(lambda: SheetField.of(fitted), config.step, config.wanted, frame))
    else:
        fitted, found = _in_blocks(local.points, config, frame, train)
    mesh = trimesh.Trimesh(*found.mesh, process=False)
    if not len(mesh.faces):
        raise UserError("no surface was found through the points: they do not lie on sheets, or are too few")
    points = None if config.upsample is None else _points(fitted, mesh, config.upsample, local, train.seed)
    note = f"sheets: {'closed' if found.closed else 'open'}, {found.why}"
    return Scene(mesh=carried(mesh, local), points=points, frame=frame, notes=(note, *_told(fitted, local, frame)))


def estimate(cloud: PointCloud, config: SheetsConfig, device: str) -> Cost:
    """CPU seconds and memory that a cloud takes; one with noise takes up to twice the time."""
    count = len(cloud.points)
    finer = (STEPS["standard"] / config.step) ** 2
    at_once = min(count, 1.3 * MOST_IN_A_BLOCK) if count > MOST_AT_ONCE else count
    megabytes = MEGABYTES + (at_once * MEGABYTES_A_POINT_AT_ONCE + count * MEGABYTES_A_POINT) * (1 + finer) / 2
    seconds = 1 + count * SECONDS_A_POINT * (1 + finer) / 2
    return Cost(seconds, megabytes, "--quality draft or thinning the points needs less")


def _in_blocks(
    points: Float64[np.ndarray, "n 3"], config: SheetsConfig, frame: Frame, train: Trainer
) -> tuple[Sheets, Surface]:
    """The sheets of the cloud and their surface, block by block."""
    blocks, fitted = _fitted(points, train)
    found = _in_tiles(blocks, fitted, config, frame, train)
    return fitted.sheets(np.argsort(fitted.kept)), found


def _fitted(points: Float64[np.ndarray, "n 3"], train: Trainer) -> tuple[Blocks, _Samples]:
    """The samples of all sheets, and the blocks that they lie in."""
    blocks = Blocks.of(points, MOST_IN_A_BLOCK)
    spacings = blocks.spacings()
    fits = [train(_BlockFit(blocks, b, blocks.reach(b, FIT_MARGIN, spacings))) for b in range(len(blocks))]
    samples = _Samples(*(np.concatenate(values) for values in zip(*fits, strict=True)))
    _require_enough(len(samples.points))
    return blocks.holding(samples.points, [len(fit.points) for fit in fits]), samples


def _in_tiles(blocks: Blocks, samples: _Samples, config: SheetsConfig, frame: Frame, train: Trainer) -> Surface:
    """The surface, tile by tile. The thing is closed if nothing in any tile speaks against that; as soon as something
    does, the tiles before are made once more, as parts of an open surface."""
    tiles = _tiles(blocks, samples, config.step)

    def made(b: int, wanted: bool | None) -> Surface:
        def field() -> SheetField:
            return SheetField.of(samples.sheets(blocks.around(b, tiles[b].margin)), len(samples.points))

        return train(_Surface(field, config.step, wanted, frame, tiles[b]))

    wanted, why = config.wanted, ""
    pieces: list[Surface] = []
    for b in range(len(tiles)):
        pieces.append(made(b, wanted))
        if b == 0 or pieces[b].closed != pieces[b - 1].closed:
            why = pieces[b].why
        if wanted is None and not pieces[b].closed:
            wanted = False
            pieces[:b] = [made(earlier, False) for earlier in range(b)]
    closed = pieces[-1].closed
    return Surface(welded([piece.mesh for piece in pieces], tiles[0].base, closed), closed, why)


def _tiles(blocks: Blocks, samples: _Samples, step: float) -> list[Tile]:
    """The tile of each block, on a lattice below all points."""
    base = base_step(step, samples.spacing, samples.cloud_noise)
    origin = blocks.points.min(0) - OFF_GRID * base
    members = [blocks.members(b) for b in range(len(blocks))]
    sparse = np.array([np.quantile(samples.spacing[m], SPARSE_QUANTILE) if m.stop > m.start else 0.0 for m in members])
    margins = [blocks.reach(b, MARGIN, sparse) for b in range(len(blocks))]
    return [Tile(*of, origin, base) for of in zip(blocks.low, blocks.high, margins, strict=True)]


def _require_enough(count: int) -> None:
    """Refuses a cloud of too few points."""
    if count < FEWEST:
        raise UserError(f"the cloud has {count} usable points; a surface needs at least {FEWEST}")


class _Fit:
    """The sheets of the cloud."""

    name = "fit"
    steps = 1

    def __init__(self, points: Float64[np.ndarray, "n 3"]) -> None:
        self.points = points
        self.sheets: Sheets | None = None

    def step(self, i: int) -> dict[str, float]:
        try:
            self.sheets = fit_sheets(self.points)
        except ValueError as problem:
            raise UserError(f"the cloud holds no surface: {problem}") from problem
        return {"noise": self.sheets.noise}

    def state_dict(self) -> dict[str, np.ndarray]:
        fitted = self.result()
        return {name: np.asarray(getattr(fitted, name)) for name in Sheets.__dataclass_fields__}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.sheets = Sheets(**{**state, "noise": float(state["noise"])})  # type: ignore[arg-type]

    def preview(self) -> Scene | None:
        return None

    def result(self) -> Sheets:
        assert self.sheets is not None
        return self.sheets


class _Surface:
    """The surface of the sheets, or of those in and around a tile."""

    name = "surface"
    steps = 1

    def __init__(
        self, field: Callable[[], SheetField], size: float, wanted: bool | None, frame: Frame, tile: Tile | None = None
    ) -> None:
        self.field, self.size, self.wanted, self.frame, self.tile = field, size, wanted, frame, tile
        self.surface: Surface | None = None

    def step(self, i: int) -> dict[str, float]:
        found = surface_of(self.field(), self.size, self.wanted, self.tile)
        self.surface = found._replace(mesh=Mesh(found.mesh.vertices, found.mesh.faces.astype(np.int32)))
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        (vertices, faces), closed, why = self.result()
        return {
            "vertices": vertices,
            "faces": faces,
            "closed": np.array(closed),
            "why": np.frombuffer(why.encode(), np.uint8),
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        mesh = Mesh(state["vertices"], state["faces"])
        self.surface = Surface(mesh, bool(state["closed"]), state["why"].tobytes().decode())

    def preview(self) -> Scene | None:
        import trimesh

        mesh = trimesh.Trimesh(*self.result().mesh, process=False)
        return Scene(mesh=mesh, frame=self.frame) if len(mesh.faces) else None

    def result(self) -> Surface:
        assert self.surface is not None
        return self.surface


class _BlockFit:
    """The sheets of the points in one block, which the points within reach of it help to find."""

    name = "fit"
    steps = 1

    def __init__(self, blocks: Blocks, block: int, reach: float) -> None:
        self.blocks, self.block, self.reach = blocks, block, reach
        self.fitted: _Samples | None = None

    def step(self, i: int) -> dict[str, float]:
        around = self.blocks.around(self.block, self.reach)
        try:
            found = fit_sheets(self.blocks.points[around])
        except ValueError:  # points in one place or on one line, in this block
            self.fitted = _Samples.none()
            return {}
        members = self.blocks.members(self.block)
        own = found.kept < members.stop - members.start
        self.fitted = _Samples(
            found.points[own],
            found.normals[own].astype(np.float32),
            found.spacing[own].astype(np.float32),
            np.array([found.noise]),
            self.blocks.order[around[found.kept[own]]],
        )
        return {"noise": found.noise}

    def state_dict(self) -> dict[str, np.ndarray]:
        return self.result()._asdict()

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.fitted = _Samples(**state)

    def preview(self) -> Scene | None:
        return None

    def result(self) -> _Samples:
        assert self.fitted is not None
        return self.fitted


class _Samples(NamedTuple):
    """Samples of the sheets of one block or of all, as in `Sheets`, in less memory; `noise` is one number per block."""

    points: Float64[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]
    spacing: Float32[np.ndarray, " n"]
    noise: Float64[np.ndarray, " b"]
    kept: Int32[np.ndarray, " n"]

    @classmethod
    def none(cls) -> _Samples:
        """That of a block without a surface."""
        normals, spacing = np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
        return cls(np.zeros((0, 3)), normals, spacing, np.zeros(0), np.zeros(0, np.int32))

    def sheets(self, which: np.ndarray) -> Sheets:
        """Some of them, in double precision."""
        normals, spacing = self.normals[which].astype(np.float64), self.spacing[which].astype(np.float64)
        return Sheets(self.points[which], normals, spacing, self.cloud_noise, self.kept[which].astype(np.int64))

    @property
    def cloud_noise(self) -> float:
        """The noise of the whole cloud."""
        return float(np.median(self.noise)) if len(self.noise) else 0.0


def _points(fitted: Sheets, mesh: trimesh.Trimesh, factor: float, cloud: PointCloud, seed: int) -> PointCloud:
    """The input's points on their sheets with normals (factor 1), or that many times as many."""
    if factor == 1:
        return replace(cloud.subset(fitted.kept), points=fitted.points, normals=fitted.normals.astype(np.float32))
    samples = upsample(fitted, mesh, factor, np.random.default_rng(seed))
    colors = None if cloud.colors is None else colors_at(samples.points, cloud)
    normals = samples.normals.astype(np.float32)
    return PointCloud(samples.points, normals, colors, unit=cloud.unit, up=cloud.up)


def _told(fitted: Sheets, cloud: PointCloud, frame: Frame) -> list[str]:
    """What was done to the points."""
    notes = []
    if fitted.noise > 0:
        spacing = float(np.median(fitted.spacing))
        notes.append(
            f"sheets: the points scatter by {frame.scale * fitted.noise:.3g} around their sheets "
            f"({fitted.noise / spacing:.2g} of their spacing) and were moved onto them"
        )
    left_out = len(cloud.points) - len(fitted.kept)
    if left_out:
        why = "repeat others, crowd scan lines or lie off all sheets"
        notes.append(f"sheets: {left_out:,} points that {why} were not used")
    return notes
