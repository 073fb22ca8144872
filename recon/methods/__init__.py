"""The methods that exist. A new one is a module in this folder and one line in `METHODS`.

A method is a function `(input, config, train) -> Scene`. Its config is a frozen `msgspec.Struct`; both load only when
the method is named, so that listing methods stays cheap.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recon.errors import UserError
from recon.inputs import CrossSections, Input, PointCloud, Views
from recon.limits import Cost


@dataclass(frozen=True)
class Method:
    """One row of the registry. `takes` is the kind of input, `inputs` says in words which of that kind.

    `module` holds the function `function` and the class `config`, whose `at(quality)` gives the config of a quality;
    where the method trains, also the function `budget`, which fits a config to a time; where it knows beforehand what
    it will cost, the function `estimate`.
    """

    name: str
    takes: type[CrossSections] | type[PointCloud] | type[Views]
    inputs: str
    good_for: str
    source: str
    module: str
    function: str
    config: str
    budget: str = ""
    estimate: str = ""

    def load(self) -> tuple[Callable[..., Any], type]:
        """The method's function and its config class."""
        module = importlib.import_module(self.module)
        return getattr(module, self.function), getattr(module, self.config)

    def fitting(self, input: Input, config: Any, device: str, minutes: float) -> Any:
        """The config whose training takes about that long on this machine."""
        return getattr(importlib.import_module(self.module), self.budget)(input, config, device, minutes)

    def cost(self, input: Input, config: Any, device: str) -> Cost | None:
        """About what the method will take; None where it cannot say. An `estimate` may leave the remedy out."""
        if not self.estimate:
            return None
        cost = getattr(importlib.import_module(self.module), self.estimate)(input, config, device)
        return None if cost is None else Cost(*cost)


METHODS: tuple[Method, ...] = (  # of each kind of input the one that suits most comes first
    Method(
        name="least-bending",
        takes=CrossSections,
        inputs="cross-sections (contours on any planes)",
        good_for="the default for contours: seconds on a CPU, passes through the outlines",
        source="variational implicit surface, Relief's own; compare Turk & O'Brien 1999",
        module="recon.methods.least_bending",
        function="least_bending",
        config="LeastBendingConfig",
        estimate="estimate",
    ),
    Method(
        name="morphing",
        takes=CrossSections,
        inputs="cross-sections (slices of a label volume)",
        good_for="the default for label volumes: many labels at once, no gap and no overlap",
        source="shape-based interpolation (Raya & Udupa 1990) along registered slices (Penney et al. 2004)",
        module="recon.methods.morphing",
        function="morphing",
        config="MorphingConfig",
        estimate="estimate",
    ),
    Method(
        name="height-field",
        takes=CrossSections,
        inputs="cross-sections (elevation contours)",
        good_for="the default for terrain: an open surface over the contours' extent",
        source="thin-plate elevation with band constraints, Relief's own; compare Hutchinson 1989",
        module="recon.methods.height_field",
        function="height_field",
        config="HeightFieldConfig",
        estimate="estimate",
    ),
    Method(
        name="orex",
        takes=CrossSections,
        inputs="cross-sections (contours or label volumes)",
        good_for="the published neural field; hours on a CPU, minutes on CUDA",
        source="Sawdayee, Vaxman, Bermano: OReX, CVPR 2023",
        module="recon.methods.orex",
        function="orex",
        config="OrexConfig",
        budget="fit_to_minutes",
        estimate="estimate",
    ),
    Method(
        name="sheets",
        takes=PointCloud,
        inputs="points (with or without noise, of open or closed surfaces)",
        good_for="the default for points: seconds on a CPU, clean borders, closed things closed",
        source="locally aligned implicit moving least squares with dual contouring, Relief's own; compare Kolluri 2005",
        module="recon.methods.sheets",
        function="sheets",
        config="SheetsConfig",
        estimate="estimate",
    ),
    Method(
        name="levelset-udf",
        takes=PointCloud,
        inputs="points",
        good_for="the published neural field for open surfaces; minutes to hours on a CPU, minutes on CUDA",
        source="Zhou, Ma, Li, Liu, Han: level set projection for unsigned distance fields, ICCV 2023",
        module="recon.methods.levelset_udf",
        function="levelset_udf",
        config="LevelsetUdfConfig",
        budget="fit_to_minutes",
        estimate="estimate",
    ),
    Method(
        name="poisson",
        takes=PointCloud,
        inputs="points",
        good_for="a baseline: watertight from closed, well oriented clouds; rounds off boundaries",
        source="Kazhdan, Hoppe: Screened Poisson Surface Reconstruction, 2013 (Open3D)",
        module="recon.methods.poisson",
        function="poisson",
        config="PoissonConfig",
        estimate="estimate",
    ),
    Method(
        name="ball-pivoting",
        takes=PointCloud,
        inputs="points without noise",
        good_for="a baseline: a mesh of the points themselves; leaves small holes",
        source="Bernardini et al.: The Ball-Pivoting Algorithm for Surface Reconstruction, 1999 (Open3D)",
        module="recon.methods.ball_pivoting",
        function="ball_pivoting",
        config="BallPivotingConfig",
        estimate="estimate",
    ),
    Method(
        name="splats",
        takes=Views,
        inputs="views (images with cameras; photos get theirs first)",
        good_for="the default for photos: minutes on a CPU, looks like the photos from everywhere between them",
        source="Kerbl, Kopanas, Leimkühler, Drettakis: 3D Gaussian splatting, 2023",
        module="recon.methods.splats",
        function="splats",
        config="SplatsConfig",
        budget="fit_to_minutes",
        estimate="estimate",
    ),
)


def method_named(name: str) -> Method:
    """The registry's row of that name.

    Raises:
        UserError: there is none; the sentence lists those that exist.
    """
    for method in METHODS:
        if method.name == name:
            return method
    known = ", ".join(method.name for method in METHODS)
    raise UserError(f"--method {name}: there is no such method; choose one of: auto, {known}")
