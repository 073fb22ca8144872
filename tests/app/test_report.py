"""The report as a browser would take it: what it says, what it shows, and that it needs nothing else."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from time import process_time

import msgspec
import numpy as np
import pytest
import trimesh
from PIL import Image

from app.distance_scale import scale_color
from app.markup import element, joined
from app.report import write_report
from app.report_pictures import result_pictures, side_viewpoints
from app.report_plots import curves
from app.report_slices import SliceEvidence, contour_distances, slice_pictures
from recon.inputs import CrossSections
from recon.metrics import contour_error
from recon.scene import Frame, Scene
from recon.slices import Label, Plane, Ring
from recon.surface.facts import mesh_facts

NASTY = '<script>alert("1")</script> & Co'
TURN = np.linspace(0, 2 * np.pi, 90, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "

    def images(self) -> list[np.ndarray]:
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source[23:])))) for source in sources]


def ball_and_box(radius_of_contours: float = 20.0) -> tuple[Scene, CrossSections]:
    """A red ball of radius 20 and a blue box beside it, with contours of the ball that are off by as much as asked."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=20.0)
    box = trimesh.creation.box((20, 20, 20), trimesh.transformations.translation_matrix((45, 0, 0)))
    labels = (Label(1, NASTY, (0.9, 0.1, 0.1)), Label(2, "box", (0.1, 0.2, 0.9)))
    scene = Scene(objects={NASTY: ball, "box": box}, labels=labels, frame=Frame(unit="mm"))
    square = np.array([[35, -10], [55, -10], [55, 10], [35, 10.0]])
    planes = []
    for z in (-9.0, -3.0, 3.0, 9.0):
        radius = np.sqrt(radius_of_contours**2 - z**2)
        axes = np.array([[1.0, 0, 0], [0, 1, 0]])
        planes.append(Plane(np.array([0, 0, z]), axes, (Ring(radius * CIRCLE, 1), Ring(square, 2))))
    return scene, CrossSections(labels=labels, contours=tuple(planes), unit="mm", notes=(f"A note with {NASTY}.",))


def record_of(scene: Scene, sections: CrossSections) -> dict:
    """What run.json would hold."""
    whole = trimesh.util.concatenate(list(scene.objects.values()))
    return {
        "status": "done",
        "input": {"paths": [f"data/{NASTY.replace('/', '')}.csl"], "digest": "ab12" * 16, "options": {}},
        "method": "least-bending",
        "config": {"resolution": 128},
        "seed": 7,
        "device": "cpu",
        "versions": {"relief": "0.1.0", "torch": "2.13.0"},
        "warnings": [f"A warning with {NASTY}."],
        "metrics": {
            "contour_error": msgspec.to_builtins(contour_error(whole, sections)),
            "objects": {name: msgspec.to_builtins(mesh_facts(mesh)) for name, mesh in scene.objects.items()},
            "held_out": {"labels": {NASTY: 0.8125}, "mean": 0.8125, "foreground_agreement": 0.9375},
        },
        "stages": [
            {
                "name": f"fit {NASTY}",
                "steps": 1200,
                "cpu_seconds": 3.21,
                "wall_seconds": 4.56,
                "peak_memory_mb": 789.0,
                "losses": {"data": [[i, 10.0 * 0.99**i] for i in range(0, 1200, 10)]},
            }
        ],
    }


@pytest.fixture(scope="module", autouse=True)
def small_pictures():
    """A sixth of the usual pixels: the tests look at what is shown, not at how finely."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.report_pictures.PIXELS", 200 * 160)
        yield


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Page, dict, Path]:
    folder = tmp_path_factory.mktemp("my run")
    scene, sections = ball_and_box()
    run = record_of(scene, sections)
    return Page(write_report(folder, run, scene, sections)), run, folder


def test_the_page_needs_nothing_else(report):
    page = report[0]
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "embed", "base", "form")]
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                assert value.startswith("data:"), (tag, name)
    assert not re.search(r"url\(|@import|https?:|//[a-z]", re.sub(r"base64,[^\"]*", "", page.source))


def test_what_the_user_named_is_text(report):
    """A label, a note, a warning, a stage and the input's name that look like markup."""
    page = report[0]
    assert "<script" not in page.source
    assert page.text.count('<script>alert("1")</script> & Co') >= 4
    assert 'alert("1")<script> & Co.csl' in page.text.replace(NASTY.replace("/", ""), 'alert("1")<script> & Co')


def test_the_figures_are_those_of_the_record(report):
    page, run, _ = report
    metrics = run["metrics"]
    words = " ".join(page.text.split())
    for facts in metrics["objects"].values():
        assert f"{facts['faces']:,}" in words and str(facts["euler_number"]) in words
        assert f"{facts['volume']:,.0f}" in words
    assert "2 of 2" in words and "volume (mm³)" in words
    assert f"{metrics['contour_error']['mean']:.3g} %" in words
    assert f"{metrics['contour_error']['quantile_95']:.3g} %" in words
    for figure in ("0.812", "0.938", "1,200", "3.21", "4.56", "789", "seed 7", "ab12ab12", "least-bending", "2.13.0"):
        assert figure in words, figure
    assert "4 parallel planes, 6 mm apart, 0 of them empty; 8 contours with 376 vertices; 2 labels" in words


def test_the_page_says_how_to_go_on(report):
    page, _, folder = report
    assert f'relief view "{folder.as_posix()}"' in page.text
    assert f'relief export "{folder.as_posix()}" --to blender' in page.text


def test_sides_are_named_by_axes(report):
    captions = re.findall(r"from [-+][xyz]", report[0].text)
    assert captions == 2 * ["from -y", "from +x", "from +y", "from -x"]


def test_pictures_stand_in_pairs_of_one_size(report):
    page, _, folder = report
    images = page.images()
    assert len(images) == 9 and len({image.shape for image in images[:8]}) == 1
    height, width, _ = images[0].shape
    preview = Image.open(folder / "preview.png")
    assert preview.size == (2 * width, 2 * height)


def test_result_and_slices_lie_over_each_other_in_their_colours():
    scene, sections = ball_and_box()
    meshes = [mesh.vertices for mesh in scene.objects.values()]
    corners = np.concatenate([*meshes, SliceEvidence(scene, sections).extent()])
    cameras = [one.camera for one in side_viewpoints(corners, scene.frame.up, 20.0)]
    results = [image for image, _ in result_pictures(scene, cameras)]
    slices, drawn = slice_pictures(scene, sections, cameras)
    assert drawn == 4
    for camera, result, sheet in zip(cameras, results, slices, strict=True):
        ball, box = camera.project(np.array([[0.0, 0, 0], [45, 0, 0]]))[0].astype(int)
        front = camera.position[0] > 0  # which of the two stands before the other
        (u, v), strong, weak = (box, 2, 0) if front else (ball, 0, 2)
        assert result[v, u, strong] > 1.5 * result[v, u, weak]
        red, blue = (image[..., 0] - image[..., 2] for image in (result, sheet))
        for mine, other in ((red > 0.1, blue > 0.1), (red < -0.1, blue < -0.1)):
            assert (mine & other).sum() > 0.8 * other.sum()  # nearly every sheet lies in the result's silhouette


def test_an_enclosing_object_is_glass():
    scene, sections = ball_and_box()
    skin = trimesh.creation.box((120, 60, 60), trimesh.transformations.translation_matrix((20, 0, 0)))
    labels = (*scene.labels, Label(3, "skin", (1.0, 1.0, 1.0)))
    scene = Scene(objects={**scene.objects, "skin": skin}, labels=labels)
    cameras = [one.camera for one in side_viewpoints(skin.vertices, scene.frame.up, 20.0)]
    for camera, (image, _) in zip(cameras, result_pictures(scene, cameras), strict=True):
        target = (45, 0, 0) if camera.position[0] > 20 else (0, 0, 0)
        u, v = camera.project(np.array([target], float))[0][0].astype(int)
        assert abs(float(image[v, u, 0] - image[v, u, 2])) > 0.15


def test_distances_are_those_of_the_geometry(tmp_path):
    """Contours of a ball of radius 20.5 around one of radius 20 lie half a unit off; the box's lie on it."""
    scene, sections = ball_and_box(20.5)
    _, distances = contour_distances(scene, sections)
    assert distances is not None
    ball, box = distances.of(1), distances.of(2)
    assert ball.mean() == pytest.approx(0.5, abs=0.03) and ball.quantile(0.95) == pytest.approx(0.5, abs=0.05)
    assert box.quantile(1.0) < 1e-5 and distances.of(9) is None
    perimeter = sum(2 * np.pi * np.sqrt(20.5**2 - z**2) for z in (9.0, 9.0, 3.0, 3.0))
    assert ball.weight.sum() == pytest.approx(perimeter, rel=1e-3)
    assert box.weight.sum() == pytest.approx(4 * 80)
    page = Page(write_report(tmp_path, record_of(scene, sections), scene, sections))
    assert f"{ball.mean():.4g}" in page.text


def test_without_input_the_page_still_shows_the_result(tmp_path):
    scene, sections = ball_and_box()
    page = Page(write_report(tmp_path, record_of(scene, sections), scene, None))
    assert len(page.images()) == 4 and "The input was not at hand" in page.text


def test_an_empty_record_is_no_failure(tmp_path):
    page = Page(write_report(tmp_path, {}, Scene(mesh=trimesh.creation.box()), None))
    assert "Reconstruction" in page.text and len(page.images()) == 4


def test_terrain_is_drawn_from_its_lines(tmp_path):
    x, y = np.meshgrid(np.arange(20.0), np.arange(20.0))
    corner = (np.arange(19) + 20 * np.arange(19)[:, None]).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 21], 1), np.stack([corner, corner + 21, corner + 20], 1)]
    )
    terrain = trimesh.Trimesh(np.stack([x, y, x / 4], -1).reshape(-1, 3), faces, process=False)
    axes = np.array([[1.0, 0, 0], [0, 1, 0]])
    line = np.stack([np.full(20, 8.0), np.arange(20.0)], 1)
    planes = tuple(Plane(np.array([0, 0, z]), axes, (), (line * (z / 2, 1),)) for z in (1.0, 2.0, 3.0))
    sections = CrossSections(labels=(), contours=planes, unit="m")
    page = Page(write_report(tmp_path, {}, Scene(mesh=terrain, frame=Frame(unit="m")), sections))
    assert len(page.images()) == 9 and "Terrain: 3 parallel planes, 1 m apart" in page.text
    assert contour_distances(Scene(mesh=terrain), sections)[1].quantile(1.0) < 1e-5


def test_curves_go_down_where_the_loss_does():
    drawn = curves({"data": [[i, 100 * 0.9**i] for i in range(50)]}, "losses")
    points = np.array([pair.split(",") for pair in re.search(r'points="([^"]+)"', drawn)[1].split()], float)
    np.testing.assert_allclose(np.diff(points, axis=0), np.diff(points, axis=0)[:1].repeat(49, 0), atol=0.11)
    assert (np.diff(points[:, 1]) > 0).all()  # down in SVG; straight, because the axis is logarithmic
    assert curves({"data": [[0, float("nan")]]}, "losses") == ""


def test_markup_escapes_all_but_markup():
    assert joined("<b>", element("i", "a & b", title='"x"')) == '&lt;b&gt;<i title="&quot;x&quot;">a &amp; b</i>'


def test_the_scale_runs_from_blue_to_red():
    low, high, beyond = scale_color(np.array([0.0, 1.0, 9.0]))
    assert low[2] > low[0] and high[0] > 3 * high[2] and (high == beyond).all()


@pytest.mark.slow
def test_a_large_scene_takes_a_few_seconds(tmp_path, monkeypatch):
    """22 labels, 300,000 faces, 80 slices."""
    monkeypatch.setattr("app.report_pictures.PIXELS", 480 * 400)
    ball = trimesh.creation.icosphere(subdivisions=5, radius=8.0)
    labels = tuple(Label(i + 1, f"label {i}", (0.9, 0.1 + 0.04 * i, 0.3)) for i in range(22))
    places = [np.array([20.0 * (i % 5), 20.0 * (i // 5), 4.0 * (i % 3)]) for i in range(22)]
    objects = {
        label.name: trimesh.Trimesh(ball.vertices + place, ball.faces[: 300_000 // 22], process=False)
        for label, place in zip(labels, places, strict=True)
    }
    axes = np.array([[1.0, 0, 0], [0, 1, 0]])
    planes = []
    for z in np.linspace(-7.9, 15.9, 80):
        radius = [np.sqrt(max(64 - (z - place[2]) ** 2, 0)) for place in places]
        rings = [
            Ring(r * CIRCLE + p[:2], i + 1) for i, (r, p) in enumerate(zip(radius, places, strict=True)) if r > 0.5
        ]
        planes.append(Plane(np.array([0, 0, z]), axes, tuple(rings)))
    scene = Scene(objects=objects, labels=labels, frame=Frame(unit="mm"))
    start = process_time()
    write_report(tmp_path, {}, scene, CrossSections(labels=labels, contours=tuple(planes), unit="mm"))
    assert process_time() - start < 20
