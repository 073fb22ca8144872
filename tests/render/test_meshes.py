"""Pictures of solids against what geometry says that a camera sees."""

import sys

import numpy as np
import pytest
import trimesh

from render.cameras import Camera, framing, look_at
from render.meshes import Picture, render_mesh, render_meshes, to_linear, to_srgb, vertex_normals
from render.raycasting import Raycaster


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=5)


def straight_down(pixels_a_unit: float, height: float = 3.0, size: int = 200) -> Camera:
    """Orthographic, from above, x to the right and y up in the picture."""
    intrinsics = np.array([[pixels_a_unit, 0, size / 2], [0, pixels_a_unit, size / 2], [0, 0, 1]])
    return Camera(look_at((0, 0, height), (0, 0, 0), (0, 1, 0)), intrinsics, size, size, orthographic=True)


def points_seen(camera: Camera, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """World points and normals of the pixels that show something."""
    origins, directions = camera.rays()
    seen = np.isfinite(picture.depth).ravel()
    origins = np.broadcast_to(origins, directions.shape)
    points = origins[seen] + picture.depth.reshape(-1, 1)[seen] * directions[seen]
    return points, picture.normal.reshape(-1, 3)[seen]


def test_the_silhouette_of_a_ball_has_the_area_of_a_disc(ball):
    picture = render_mesh(ball, straight_down(80), supersampling=2)
    assert picture.alpha.sum() == pytest.approx(np.pi * 80**2, rel=2e-3)


def test_in_perspective_the_silhouette_is_the_tangent_cone(ball):
    """A ball of radius 1 at distance d is seen under the half angle asin(1 / d)."""
    distance, focal = 4.0, 300.0
    intrinsics = np.array([[focal, 0, 100], [0, focal, 100], [0, 0, 1]])
    camera = Camera(look_at((distance, 0, 0), (0, 0, 0)), intrinsics, 200, 200)
    radius = focal * np.tan(np.arcsin(1 / distance))
    assert render_mesh(ball, camera).alpha.sum() == pytest.approx(np.pi * radius**2, rel=2e-3)


@pytest.mark.parametrize("orthographic", [False, True])
def test_depths_and_normals_of_a_ball(ball, orthographic):
    camera = framing(ball.vertices, (1, -2, 0.5), size=(90, 80), orthographic=orthographic)
    points, normals = points_seen(camera, render_mesh(ball, camera, supersampling=1))
    assert len(points) > 2000
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=2e-3)  # the icosphere's own distance from it
    assert np.einsum("nc,nc->n", points, normals).min() > 0.9995


def test_a_cube_shows_its_face_at_its_depth_with_its_normal():
    box = trimesh.creation.box((2, 2, 2))
    picture = render_mesh(box, straight_down(50, height=3.5), supersampling=1)
    inside = np.s_[51:149, 51:149]
    np.testing.assert_allclose(picture.depth[inside], 2.5, atol=1e-6)
    np.testing.assert_allclose(picture.normal[inside], np.broadcast_to((0, 0, 1.0), (98, 98, 3)), atol=1e-6)
    assert set(np.unique(picture.face[inside])) == set(np.flatnonzero(box.face_normals[:, 2] > 0.5))
    assert np.isinf(picture.depth[0, 0]) and picture.face[0, 0] == -1 and picture.alpha[0, 0] == 0
    assert not picture.normal[0, 0].any()


def test_face_colours_without_light_are_the_colours_themselves():
    box = trimesh.creation.box((2, 2, 2))
    box.visual.face_colors = np.where(box.face_normals[:, 2:] > 0.5, (30, 140, 250, 255), (9, 9, 9, 255)).astype(
        np.uint8
    )
    picture = render_mesh(box, straight_down(50), lit=False)
    np.testing.assert_allclose(picture.color[100, 100] * 255, (30, 140, 250), atol=0.01)


def test_vertex_colours_mix_in_linear_light():
    """At the barycentre a third of each; nearer to a corner more of its colour: u belongs to the second corner."""
    triangle = trimesh.Trimesh([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    colors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    camera = straight_down(100, size=201)  # pixel (row, column) is centred at ((column - 100) / 100, (100 - row) / 100)
    picture = render_mesh(triangle, camera, colors, supersampling=1, lit=False)
    for x, y in ((0.0, -0.5), (0.5, -0.8), (0.0, 0.7)):
        top = (y + 1) / 2
        right = (x - 0 * top + (1 - top)) / 2
        seen = picture.color[round(100 - 100 * y), round(100 + 100 * x)]
        np.testing.assert_allclose(seen, to_srgb(np.array([1 - right - top, right, top])), atol=1e-3)


def test_an_edge_covers_part_of_a_pixel():
    """The square's right edge passes through the middle of a pixel: half of the pixel's samples lie on it."""
    square = trimesh.Trimesh(
        [[-1, -1, 0], [0.005, -1, 0], [0.005, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    picture = render_mesh(square, straight_down(100), (1, 0, 0), lit=False)
    np.testing.assert_allclose(picture.alpha[60, 98:102], [1, 1, 0.5, 0])
    np.testing.assert_allclose(picture.over((0, 0, 1))[60, 98:102], [[1, 0, 0], [1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]])


def test_what_lies_under_another_is_darker():
    ground = trimesh.creation.box((8, 8, 0.1))
    ground.apply_translation((0, 0, -1.2))
    both = trimesh.util.concatenate([ground, trimesh.creation.icosphere(subdivisions=3)])
    camera = framing(both.vertices, (0, -1, 0.6), size=(200, 150))
    alone, shaded = render_mesh(ground, camera), render_mesh(both, camera)
    on_ground = (shaded.normal[..., 2] > 0.99) & (shaded.face < len(ground.faces)) & (shaded.alpha == 1)
    ratio = shaded.color[on_ground].mean(-1) / alone.color[on_ground].mean(-1)
    assert 0.2 < ratio.min() < 0.6
    assert np.median(ratio) > 0.97


def test_the_inside_of_an_open_shell_is_seen_with_its_normal_turned_to_the_viewer():
    shell = trimesh.creation.icosphere(subdivisions=3).slice_plane((0, 0, 0), (0, 0, -1))
    camera = straight_down(60)
    points, normals = points_seen(camera, render_mesh(shell, camera, supersampling=1))
    assert (np.einsum("nc,nc->n", points, normals) < -0.9).mean() > 0.95
    assert normals[:, 2].min() >= 0


def test_far_from_the_origin_the_picture_is_the_same(ball):
    away = ball.copy()
    away.apply_translation((512_345.0, 5_412_345.0, 900.0))
    near, far = (
        render_mesh(mesh, framing(mesh.vertices, (1, -2, 0.5), size=(80, 60)), supersampling=1) for mesh in (ball, away)
    )
    np.testing.assert_array_equal(near.alpha, far.alpha)
    np.testing.assert_allclose(near.color, far.color, atol=0.01)
    np.testing.assert_allclose(near.depth[near.alpha > 0], far.depth[near.alpha > 0], atol=1e-4)


def test_several_cameras_give_what_one_at_a_time_gives(ball):
    cameras = [framing(ball.vertices, direction, size=(40, 30)) for direction in ((1, 0, 0), (0, -1, 1))]
    for picture, camera in zip(render_meshes(ball, cameras), cameras, strict=True):
        np.testing.assert_array_equal(picture.color, render_mesh(ball, camera).color)


def test_open3d_casts_the_same_rays_where_embreex_is_missing(ball, monkeypatch):
    pytest.importorskip("embreex")
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    generator = np.random.default_rng(0)
    origins = generator.normal(size=(2000, 3)).astype(np.float32) * 2
    directions = (generator.normal(size=(2000, 3)) * 0.5 - origins).astype(np.float32)
    expected = Raycaster(vertices, faces)
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    other = Raycaster(vertices, faces)
    found, wanted = other.first_hits(origins, directions), expected.first_hits(origins, directions)
    hit = wanted.face >= 0
    assert 0.5 < hit.mean() < 1
    assert (found.face == wanted.face).mean() > 0.999
    np.testing.assert_allclose(found.t[hit], wanted.t[hit], rtol=1e-4)
    np.testing.assert_allclose(found.u[hit], wanted.u[hit], atol=1e-3)
    np.testing.assert_array_equal(other.occluded(origins, directions), expected.occluded(origins, directions))


def test_vertex_normals_of_a_ball_point_outward(ball):
    normals = vertex_normals(ball.vertices, ball.faces)
    assert np.einsum("nc,nc->n", normals, ball.vertices).min() > 0.9999


def test_srgb_and_linear_are_inverse_and_known():
    """0.5 in sRGB is 0.21404 in linear light (IEC 61966-2-1)."""
    assert to_linear(np.array(0.5)) == pytest.approx(0.214041, abs=1e-6)
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-6)
