"""From points to the sheets they lie on, and from those to a surface: open or closed, in seconds.

Noise is taken off the points and a sheet with an axis fitted at each (`recon.fields.local_fits`); a field of these
sheets is asked on an adaptive lattice which of its edges the surface crosses, and a mesh put through the crossings ends
where the samples end (`recon.surface.sheets`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from recon.errors import UserError
from recon.fields.local_fits import Sheets, fit_sheets
from recon.fields.sheet_field import SheetField
from recon.fields.upsampling import upsample
from recon.inputs import PointCloud
from recon.scene import Frame, Scene
from recon.surface.colors import carried, colors_at
from recon.surface.sheets import surface_of

if TYPE_CHECKING:
    import trimesh

    from recon.training import Trainer

FEWEST = 10
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


def sheets(cloud: PointCloud, config: SheetsConfig, train: Trainer) -> Scene:
    """One mesh, open or closed (which, and why, stands in the notes), and points with normals where asked for.

    Raises:
        UserError: the cloud has too few distinct points, or `closed` and `open` are both asked for.
    """
    if config.closed and config.open:
        raise UserError("--closed and --open: choose one; with neither, the method decides")
    frame = Frame.fitting(cloud.points, cloud.unit, cloud.up)
    local = replace(cloud, points=frame.from_user(cloud.points))
    fitted = train(_FitStage(local.points))
    stage = _SurfaceStage(fitted, config, frame)
    mesh = train(stage)
    if not len(mesh.faces):
        raise UserError("no surface was found through the points: they do not lie on sheets, or are too few")
    points = None if config.upsample is None else _points(fitted, mesh, config.upsample, local, train.seed)
    return Scene(
        mesh=carried(mesh, local), points=points, frame=frame, notes=(stage.note, *_told(fitted, local, frame))
    )


class _FitStage:
    """One step: the sheets of the cloud."""

    name = "fit"
    steps = 1

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self.sheets: Sheets | None = None

    def step(self, i: int) -> dict[str, float]:
        try:
            self.sheets = fit_sheets(self.points)
        except ValueError as problem:
            raise UserError(f"the cloud holds no surface: {problem}") from problem
        if len(self.sheets.points) < FEWEST:
            raise UserError(f"the cloud has {len(self.sheets.points)} usable points; a surface needs at least {FEWEST}")
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


class _SurfaceStage:
    """One step: the surface of the sheets."""

    name = "surface"
    steps = 1

    def __init__(self, fitted: Sheets, config: SheetsConfig, frame: Frame) -> None:
        self.fitted, self.config, self.frame = fitted, config, frame
        self.vertices, self.faces = np.zeros((0, 3)), np.zeros((0, 3), np.int64)
        self.note = ""

    def step(self, i: int) -> dict[str, float]:
        wanted = True if self.config.closed else False if self.config.open else None
        found = surface_of(SheetField.of(self.fitted), self.config.step, wanted)
        self.vertices, self.faces = found.mesh
        self.note = f"sheets: {'closed' if found.closed else 'open'}, {found.why}"
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        note = np.frombuffer(self.note.encode(), np.uint8)
        return {"vertices": self.vertices, "faces": self.faces, "note": note}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.vertices, self.faces = state["vertices"], state["faces"]
        self.note = state["note"].tobytes().decode()

    def preview(self) -> Scene | None:
        return Scene(mesh=self.result(), frame=self.frame) if len(self.faces) else None

    def result(self) -> trimesh.Trimesh:
        import trimesh

        return trimesh.Trimesh(self.vertices, self.faces, process=False)


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
        notes.append(f"sheets: {left_out:,} points that repeat others or lie off all sheets were not used")
    return notes
