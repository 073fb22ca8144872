"""What differs between the kinds of input, a module each. A new kind is a module here and one line in `KINDS`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from recon.inputs import CrossSections, Input, Photos, PointCloud, Views

if TYPE_CHECKING:
    from app.report_evidence import Evidence
    from app.viewer.page import InputLayer, Page
    from recon.formats import InputOptions
    from recon.scene import Scene


class Kind(Protocol):
    """The functions of a kind's module; `NAME` is what sentences call such inputs, `OPTIONS` are how they are read."""

    NAME: str
    OPTIONS: type[InputOptions]

    def best_method(self, input: Any) -> str:
        """The method that `--method auto` takes."""
        ...

    def metrics(self, scene: Scene, input: Any) -> dict[str, Any]:
        """How well a result (in the user's coordinates) agrees with its input, for run.json."""
        ...

    def summary(self, metrics: dict[str, Any], unit: str) -> list[str]:
        """What the command line says about these metrics, a line each."""
        ...

    def size(self, input: Any) -> str:
        """How much there is of it, in a few words."""
        ...

    def evidence(self, scene: Scene, input: Any) -> Evidence:
        """The input beside the result, for the report."""
        ...

    def layer(self, page: Page, input: Any) -> InputLayer:
        """The input on the viewer's page."""
        ...

    def write_for_blender(self, input: Any, folder: Path) -> None:
        """Writes the input beside a scene.glb for `import_relief.py`."""
        ...


MethodInput = CrossSections | PointCloud | Views  # what methods are given: photos become views first
InputType = type[CrossSections] | type[PointCloud] | type[Views] | type[Photos]

KINDS: dict[InputType, str] = {
    CrossSections: "app.kinds.slices",
    PointCloud: "app.kinds.points",
    Views: "app.kinds.views",
    Photos: "app.kinds.photos",
}


def kind_of(input: Input | InputType) -> Kind:
    """The kind of an input, or of the inputs of a class."""
    return cast(Kind, importlib.import_module(KINDS[input if isinstance(input, type) else type(input)]))


def type_read_with(options: type[InputOptions]) -> InputType:
    """The class of the inputs that are read with options of that class."""
    return next(input for input in KINDS if kind_of(input).OPTIONS is options)


def type_for_methods(input: InputType) -> InputType:
    """The class of what methods are given for an input of that class."""
    return Views if input is Photos else input
