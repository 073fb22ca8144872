"""`report.html`: one self-contained page about a run, and `preview.png`, the result from four viewpoints.

The figures are those of run.json (see `app.runs.RunRecord`); the pictures, and the distances by label, are made here
from the scene and, where it is still at hand, the input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app import report_plots
from app.distance_scale import css_gradient
from app.heldout import ground_of
from app.kinds import MethodInput, kind_of
from app.markup import Child, Markup, element, joined, picture, table
from app.report_evidence import Evidence
from app.report_pictures import (
    Image,
    Viewpoint,
    photo_viewpoints,
    result_pictures,
    side_viewpoints,
    splat_pictures,
)
from app.report_poses import pose_section
from app.run_input import poses_of
from recon.files import replacing
from recon.formats.meshes import parts
from recon.scene import Scene
from render.cameras import Camera
from render.meshes import to_bytes

STYLE = Path(__file__).parent / "report.css"
DISTANCE_SCALE = 1.2  # the size of the picture of distances beside that of a side
ELEVATION = 20.0  # degrees that the result is seen from where there is no input


def write_report(run_dir: Path, run: Mapping[str, Any], scene: Scene, input: MethodInput | None) -> Path:
    """Writes the run's report.html and preview.png and gives the page's path.

    `run` is what run.json holds, `scene` what the run yielded, `input` what it was made of, None where that is gone.

    Raises:
        UserError: the scene holds neither a mesh nor splats.
    """
    if scene.has_mesh:  # splats alone stay in a frame that float32 can hold
        scene = scene.in_user_frame()
    evidence = None if input is None else kind_of(input).evidence(scene, input)
    viewpoints = _viewpoints(scene, evidence)
    if scene.has_mesh or scene.gaussians is None:
        results = [image for image, _ in result_pictures(scene, [viewpoint.camera for viewpoint in viewpoints])]
    else:
        results = splat_pictures(scene, viewpoints, ground_of(input))
    title = _name(run)
    body = joined(
        _head(title, run),
        _key_figures(run),
        _sides(evidence, viewpoints, results),
        _input(title, evidence),
        _distances(scene, evidence, viewpoints[0].camera),
        None if evidence is None else evidence.further(run, viewpoints),
        None
        if run.get("poses") is None
        else pose_section(poses_of(run_dir, run["poses"]), () if evidence is None else evidence.notes),
        _objects(run, scene, evidence),
        _stages(run),
        _warnings(run, evidence),
        _going_on(run_dir, scene),
        _record(run),
    )
    page = "<!DOCTYPE html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"{title} - Relief"),
            element("style", Markup(STYLE.read_text(encoding="utf-8"))),
        ),
        element("body", body),
        lang="en",
    )
    _write_preview(run_dir / "preview.png", results)
    with replacing(run_dir / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    return run_dir / "report.html"


def _viewpoints(scene: Scene, evidence: Evidence | None) -> list[Viewpoint]:
    """Where photos were taken, if the scene is of photos, else four sides."""
    if scene.cameras:
        return photo_viewpoints(scene)
    points = [np.asarray(part.mesh.vertices) for part in parts(scene)] if scene.has_mesh else []
    points += [scene.gaussians.means] if scene.gaussians is not None and not points else []
    points += [] if evidence is None else [evidence.extent()]
    elevation = ELEVATION if evidence is None else evidence.elevation
    return side_viewpoints(np.concatenate([np.zeros((0, 3)), *points]), scene.frame.up, elevation)


def _name(run: Mapping[str, Any]) -> str:
    return ", ".join(Path(path).name for path in run.get("input", {}).get("paths", [])) or "Reconstruction"


def _head(title: str, run: Mapping[str, Any]) -> Markup:
    seed, device = run.get("seed", "unknown"), run.get("device", "unknown device")
    line = f"reconstructed with {run.get('method', 'unknown method')} on {device}, seed {seed}"
    status = run.get("status", "done")
    return joined(element("h1", title), element("p", line + ("" if status == "done" else f"; {status}"), class_="soft"))


def _key_figures(run: Mapping[str, Any]) -> Markup:
    """What one wants to know first."""
    metrics, stages = run.get("metrics", {}), run.get("stages", [])
    objects = list(metrics.get("objects", {}).values())
    boxes: list[tuple[str, str]] = []
    if objects:
        closed = sum(bool(facts["watertight"]) for facts in objects)
        boxes.append((f"{sum(facts['faces'] for facts in objects):,}", "faces"))
        boxes.append((f"{closed} of {len(objects)}", f"object{'s' * (len(objects) != 1)} watertight"))
    of_points = metrics.get("point_distance", {}).get("percent")
    for error, sample in ((metrics.get("contour_error"), "contour"), (of_points, "point")):
        if error:
            boxes.append((f"{error['mean']:.3g} %", f"of the diagonal: mean {sample} distance"))
            boxes.append((f"{error['quantile_95']:.3g} %", f"95 % of the {sample}s within"))
    if metrics.get("splats"):
        boxes.append((f"{metrics['splats']['count']:,}", "splats"))
    if "psnr" in metrics:
        count = len(metrics["held_out_views"])
        boxes.append((f"{metrics['psnr']:.2f} dB", f"PSNR of {count} held-out view{'s' * (count != 1)}"))
        boxes.append((f"{metrics['ssim']:.3f}", "SSIM of these"))
    if metrics.get("held_out"):
        boxes.append((f"{metrics['held_out']['mean']:.3f}", "mean Dice, slices left out"))
    if stages:
        boxes.append((f"{sum(stage['cpu_seconds'] for stage in stages):.1f} s", "CPU time"))
    cells = (element("div", element("b", value), element("span", meaning)) for value, meaning in boxes)
    return element("div", *cells, class_="figures")


def _sides(evidence: Evidence | None, viewpoints: list[Viewpoint], results: list[Image]) -> Markup:
    """The result and the input under each other."""
    names = [viewpoint.name for viewpoint in viewpoints]
    shown = [element("p", "The result", class_="row"), _row(results, "the result", names)]
    if evidence is None:
        shown.append(element("p", "The input was not at hand when this page was written.", class_="row"))
    else:
        images, caption = evidence.pictures(viewpoints)
        shown += [element("p", caption, class_="row"), _row(images, "the input", names)]
    from_sides = all(name.startswith("from ") for name in names)
    return joined(element("h2", "From four sides" if from_sides else "From where photos were taken"), *shown)


def _row(images: list[Image], what: str, names: list[str]) -> Markup:
    figures = (
        element("figure", picture(image, f"{what} {name}"), element("figcaption", name))
        for image, name in zip(images, names, strict=True)
    )
    return element("div", *figures, class_="sides")


def _input(name: str, evidence: Evidence | None) -> Markup | None:
    """How the input was understood."""
    if evidence is None:
        return None
    notes = element("ul", *(element("li", note) for note in evidence.notes)) if evidence.notes else None
    return joined(element("h2", "How the input was understood"), element("p", evidence.understood(name)), notes)


def _distances(scene: Scene, evidence: Evidence | None, camera: Camera) -> Markup | None:
    """The input coloured by its distance from the result, with the scale and a histogram."""
    image = None if evidence is None else evidence.distance_picture(camera.resized(DISTANCE_SCALE))
    if evidence is None or evidence.distances is None or image is None:
        return None
    distances, samples = evidence.distances, evidence.samples
    unit, greatest = _unit(scene.frame.unit), distances.greatest_shown
    said = (
        f"The input's {samples} over the result, coloured by their distance from it: {distances.mean():.3g}{unit} on "
        f"average, 95 % of {evidence.amount} nearer than {distances.quantile(0.95):.3g}{unit}."
    )
    plot = report_plots.histogram(
        distances.distance, distances.weight, greatest, unit.strip(), "histogram of distances"
    )
    beside = element(
        "div",
        element("p", said),
        element("div", class_="scale", style=f"background:{css_gradient()}"),
        element(
            "div",
            element("span", "0"),
            element("span", f"{greatest / 2:.3g}"),
            element("span", f"{greatest:.3g}{unit} and more"),
            class_="ends",
        ),
        plot,
        element("p", f"What part of the {samples} lies how far from the result.", class_="soft"),
    )
    shown = element("div", element("figure", picture(image, f"distances of the {samples}")), beside, class_="beside")
    return joined(element("h2", f"How closely the result follows the {samples}"), shown)


def _objects(run: Mapping[str, Any], scene: Scene, evidence: Evidence | None) -> Markup | None:
    """A row for each object: its mesh, its volume, its agreement with the input."""
    distances = None if evidence is None else evidence.distances
    metrics = run.get("metrics", {})
    if not metrics.get("objects"):
        return None
    dice = (metrics.get("held_out") or {}).get("labels", {})
    labels = {label.name: label for label in scene.labels}
    unit = _unit(scene.frame.unit)
    headings = ["object", f"volume{unit and f' ({unit.strip()}³)'}"]
    headings += [f"{evidence.samples}: mean{unit and f' ({unit.strip()})'}", "95 %"] if evidence and distances else []
    headings += ["Dice"] if dice else []
    headings += ["faces", "watertight", "Euler", "parts", "open loops", "non-manifold", "self-crossings"]
    rows: list[list[Child]] = []
    for name, facts in metrics["objects"].items():
        label = labels.get(name)
        row: list[Child] = [_swatched(name, label.color if label else None), _number(facts["volume"])]
        if distances:
            mine = distances.of(label.id) if label else distances
            row += [_number(mine.mean()), _number(mine.quantile(0.95))] if mine else ["-", "-"]
        row += [f"{dice[name]:.3f}" if name in dice else "-"] if dice else []
        row += [f"{facts['faces']:,}", _yes_or_no(facts["watertight"]), str(facts["euler_number"])]
        row += [str(facts["components"]), str(facts["boundary_loops"])]
        row += [_fault(facts["non_manifold_edges"]), _fault(facts["self_intersections"])]
        rows.append(row)
    note = (
        f"Foreground agreement on the slices left out: {metrics['held_out']['foreground_agreement']:.3f}."
        if dice
        else None
    )
    return joined(element("h2", "Objects"), table(headings, rows), element("p", note, class_="soft") if note else None)


def _stages(run: Mapping[str, Any]) -> Markup | None:
    """What each stage cost, and the curves of those that have losses."""
    stages = run.get("stages", [])
    if not stages:
        return None
    rows: list[list[Child]] = [
        [
            stage["name"],
            f"{stage['steps']:,}",
            f"{stage['cpu_seconds']:.2f}",
            f"{stage['wall_seconds']:.2f}",
            f"{stage['peak_memory_mb']:,.0f}",
        ]
        for stage in stages
    ]
    plots = [
        element(
            "figure",
            report_plots.curves(stage["losses"], f"losses of {stage['name']}"),
            element("figcaption", stage["name"]),
        )
        for stage in stages
        if stage.get("losses")
    ]
    return joined(
        element("h2", "Time and memory"),
        table(["stage", "steps", "CPU seconds", "wall seconds", "peak memory (MB)"], rows),
        joined(element("h2", "Losses"), element("div", *plots, class_="plots")) if plots else None,
    )


def _warnings(run: Mapping[str, Any], evidence: Evidence | None) -> Markup | None:
    """What was noted, but for what stands above on the page."""
    told = () if evidence is None else evidence.notes
    warnings = [warning for warning in run.get("warnings", []) if warning not in told]
    if not warnings:
        return None
    return joined(element("h2", "Warnings"), element("ul", *(element("li", warning) for warning in warnings)))


def _going_on(run_dir: Path, scene: Scene) -> Markup:
    run = run_dir.as_posix()
    run = f'"{run}"' if " " in run else run
    targets = ("blender", "glb") if scene.has_mesh else ("html", "splats-ply")
    lines = [f"relief view {run}", *(f"relief export {run} --to {target}" for target in targets)]
    return joined(element("h2", "Going on"), element("pre", "\n".join(lines)))


def _record(run: Mapping[str, Any]) -> Markup:
    """How to have the same result again."""
    source = run.get("input", {})
    rows = {"config": run.get("config", {}), "versions": run.get("versions", {}), "frame": run.get("frame", {})}
    texts = (f"{name}: {json.dumps(value, indent=2, ensure_ascii=False)}" for name, value in rows.items() if value)
    digest = f"input: {', '.join(source.get('paths', []))}\nSHA-256: {source.get('digest', 'unknown')}"
    inner = element("pre", "\n\n".join([digest, f"seed: {run.get('seed', 'unknown')}", *texts]))
    return joined(
        element("h2", "The record"),
        element("details", element("summary", "Input, seed, configuration and versions"), inner),
        element("footer", f"Relief {run.get('versions', {}).get('relief', '')}".strip()),
    )


def _swatched(name: str, color: tuple[float, float, float] | None) -> Markup:
    """A name behind a square of its colour."""
    if color is None:
        return joined(name)
    red, green, blue = to_bytes(np.array(color, np.float64))
    return joined(element("span", class_="swatch", style=f"background:rgb({red} {green} {blue})"), name)


def _yes_or_no(fact: bool) -> Markup:
    return element("span", "yes", class_="good") if fact else element("span", "no", class_="bad")


def _fault(count: int | None) -> Child:
    if count is None:
        return "not counted"
    return str(count) if count == 0 else element("span", f"{count:,}", class_="bad")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"


def _unit(unit: str) -> str:
    """A unit behind a number."""
    return "" if unit == "unknown" else f" {unit}"


def _write_preview(path: Path, images: list[Image]) -> None:
    """The four pictures in one; fewer are repeated."""
    from PIL import Image as Pillow

    images = [images[n % len(images)] for n in range(4)]
    rows = [np.concatenate(images[:2], axis=1), np.concatenate(images[2:], axis=1)]
    with replacing(path) as partial:
        Pillow.fromarray(to_bytes(np.concatenate(rows))).save(partial)
