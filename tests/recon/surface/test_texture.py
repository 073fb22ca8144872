"""Colours from points on a surface: on its vertices, and baked into a texture that other programs read."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from recon.errors import UserError
from recon.formats.meshes import read_scene, write_scene
from recon.inputs import PointCloud
from recon.scene import Frame, Scene
from recon.surface.colors import carried, colors_at
from recon.surface.texture import textured
from recon.surface.unwrapping import covered, unwrapped

FAR = np.array([512_345.25, 5_412_345.5, 900.0])


def sphere_colors(points: np.ndarray) -> np.ndarray:
    """A smooth colour for each direction."""
    return 128 + 100 * points


@pytest.fixture(scope="module")
def sphere() -> tuple[trimesh.Trimesh, PointCloud]:
    """A ball of radius 1 far from the origin, and 40,000 points on it coloured by their direction."""
    points = np.random.default_rng(1).normal(size=(40_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ball = trimesh.creation.icosphere(4)
    ball.apply_translation(FAR)
    return ball, PointCloud(points + FAR, colors=np.rint(sphere_colors(points)).astype(np.uint8), unit="m")


def test_vertices_take_the_colours_of_the_points_around_them(sphere):
    ball, cloud = sphere
    colored = carried(ball, cloud)
    np.testing.assert_allclose(colored.visual.vertex_colors[:, :3], sphere_colors(ball.vertices - FAR), atol=3)
    assert carried(ball, PointCloud(cloud.points)) is ball


def test_a_point_gives_its_own_colour_where_it_stands_and_light_is_mixed_between(sphere):
    cloud = PointCloud(np.array([[0.0, 0, 0], [2, 0, 0]]), colors=np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
    exact, between = colors_at(np.array([[2.0, 0, 0], [1, 0, 0]]), cloud)
    assert exact.tolist() == [255] * 3
    assert between.tolist() == [188] * 3  # half of the light is 188 in sRGB


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_sphere_coloured_by_position_comes_back_from_the_file_with_its_colours(sphere, tmp_path, suffix):
    ball, cloud = sphere
    path = tmp_path / f"ball{suffix}"
    write_scene(Scene(mesh=textured(ball, cloud, 512), frame=Frame(unit="m", up=(0.0, 1.0, 0.0))), path)
    read = trimesh.load_scene(path).to_mesh()
    material = read.visual.material
    image = material.baseColorTexture if suffix == ".glb" else material.image
    pixels = np.asarray(image.convert("RGB")).astype(float)
    triangles, uv = read.triangles, read.visual.uv[read.faces]
    weights = np.random.default_rng(2).dirichlet((1, 1, 1), len(triangles))
    places = np.einsum("fk,fkc->fc", weights, triangles) - read.bounds.mean(0)
    at = np.einsum("fk,fkc->fc", weights, uv) * (1, -1) + (0, 1)
    column, row = (at * 512).astype(int).T
    assert len(places) == len(ball.faces)
    np.testing.assert_allclose(pixels[row, column], sphere_colors(places), atol=6)
    assert read.bounds.mean(0) == pytest.approx(FAR, abs=0.5)


def test_a_texture_is_read_again_as_it_was_written(sphere, tmp_path):
    ball, cloud = sphere
    painted = textured(ball, cloud, 512)
    write_scene(Scene(mesh=painted, frame=Frame(unit="m")), tmp_path / "ball.glb")
    read = read_scene(tmp_path / "ball.glb").mesh
    assert np.array_equal(read.faces, painted.faces) and np.allclose(read.vertices, painted.vertices, atol=1e-6)
    assert np.allclose(read.visual.uv, painted.visual.uv, atol=1e-6)
    image, original = (np.asarray(mesh.visual.material.baseColorTexture) for mesh in (read, painted))
    assert np.array_equal(image, original)


def test_a_damaged_texture_is_one_sentence(sphere, tmp_path):
    path = tmp_path / "ball.glb"
    write_scene(Scene(mesh=textured(*sphere, 256)), path)
    data = path.read_bytes()
    middle = data.index(b"IDAT") + 2_000
    path.write_bytes(data[:middle] + bytes(50) + data[middle + 50 :])
    with pytest.raises(UserError, match=r"ball.glb: image 0 is damaged \([^\n]+\)"):
        read_scene(path)


def test_normals_are_smooth_across_the_seams_of_a_texture(sphere, tmp_path):
    ball, cloud = sphere
    path = tmp_path / "ball.glb"
    write_scene(Scene(mesh=textured(ball, cloud, 256), frame=Frame(unit="m", up=(0.0, 1.0, 0.0))), path)
    (read,) = trimesh.load_scene(path, process=False).geometry.values()
    outward = np.asarray(read.vertices) / np.linalg.norm(read.vertices, axis=1, keepdims=True)
    assert len(read.vertices) > len(ball.vertices)
    assert np.einsum("vc,vc->v", read.vertex_normals, outward).min() > 0.999


def test_beyond_the_seams_the_texture_goes_on(sphere):
    ball, cloud = sphere
    mesh = textured(ball, cloud, 256)
    image = np.asarray(mesh.visual.material.baseColorTexture).astype(float)
    owner = covered(mesh.visual.uv[mesh.faces] * (1, -1) * 256 + (0, 256), 256)
    rows, columns = np.nonzero((owner >= 0)[1:-1, 1:-1])
    for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        step = np.abs(image[rows + 1 + down, columns + 1 + right] - image[rows + 1, columns + 1])
        assert step.max() < 20  # no black beside a chart


def winding_stair() -> trimesh.Trimesh:
    """A ribbon that winds three times around an axis and faces along it everywhere: flat, it would cover itself."""
    turn = np.linspace(0, 6 * np.pi, 300)
    inner, outer = (np.stack([r * np.cos(turn), r * np.sin(turn), 0.05 * turn], axis=1) for r in (0.5, 1.0))
    i = np.arange(299)[:, None]
    faces = np.concatenate([i + (0, 300, 1), i + (300, 301, 1)], axis=0)
    return trimesh.Trimesh(np.concatenate([inner, outer]), faces, process=False)


@pytest.mark.parametrize(
    "mesh",
    [trimesh.creation.torus(1, 0.3, 96, 48), trimesh.creation.icosphere(5), winding_stair()],
    ids=["torus", "ball", "winding stair"],
)
def test_no_two_faces_share_a_place_on_the_square(mesh):
    size = 512
    flat = unwrapped(np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64), size)
    np.testing.assert_array_equal(flat.vertex[flat.faces], mesh.faces)
    assert flat.texels.min() >= 0 and flat.texels.max() <= size
    ab, ac = (flat.texels[flat.faces[:, k]] - flat.texels[flat.faces[:, 0]] for k in (1, 2))
    areas = np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2
    filled = (covered(flat.texels[flat.faces], size) >= 0).sum()
    assert filled == pytest.approx(areas.sum(), rel=0.02)  # an overlap would fill less than the areas' sum
    ratio = areas / mesh.area_faces
    assert np.quantile(ratio, 0.99) < 6 * np.quantile(ratio, 0.01)


def test_wrong_sizes_and_points_without_colours_are_one_sentence(sphere):
    ball, cloud = sphere
    with pytest.raises(UserError, match="no colours"):
        textured(ball, PointCloud(cloud.points), 512)
    with pytest.raises(UserError, match="64 to 16384"):
        textured(ball, cloud, 20)
    soup = trimesh.creation.icosphere(5)
    soup = trimesh.Trimesh(soup.triangles.reshape(-1, 3), np.arange(3 * len(soup.faces)).reshape(-1, 3), process=False)
    with pytest.raises(UserError, match="charts do not fit"):
        textured(soup, PointCloud(cloud.points - FAR, colors=cloud.colors), 64)


def test_the_file_holds_a_png(sphere, tmp_path):
    ball, cloud = sphere
    write_scene(Scene(mesh=textured(ball, cloud, 128)), tmp_path / "ball.obj")
    picture = Image.open(io.BytesIO((tmp_path / "ball-mesh.png").read_bytes()))
    assert picture.size == (128, 128) and "map_Kd ball-mesh.png" in (tmp_path / "ball.mtl").read_text()
