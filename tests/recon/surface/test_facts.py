"""Facts about meshes whose facts are known, and self-intersections against another library."""

import numpy as np
import pytest
import trimesh

from recon.surface.facts import mesh_facts
from recon.surface.intersections import count_self_intersections
from render.raycasting import import_open3d


def expect(mesh, **expected):
    facts = mesh_facts(mesh)
    for name, value in expected.items():
        assert getattr(facts, name) == value, name
    return facts


def moved(mesh, offset):
    return mesh.copy().apply_translation(offset)


def two_triangles_of_a_bow_tie():
    return trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [-1, 0, 0], [-1, -1, 0]], [[0, 1, 2], [0, 3, 4]], process=False
    )


def test_box():
    facts = expect(
        trimesh.creation.box((1, 2, 3)),
        vertices=8,
        faces=12,
        watertight=True,
        euler_number=2,
        components=1,
        boundary_loops=0,
        non_manifold_edges=0,
        non_manifold_vertices=0,
        self_intersections=0,
        bounds=((-0.5, -1.0, -1.5), (0.5, 1.0, 1.5)),
    )
    assert facts.area == pytest.approx(22)
    assert facts.volume == pytest.approx(6)


def test_volume_and_area_far_from_the_origin():
    facts = mesh_facts(moved(trimesh.creation.box(), [4.3e6, -5e5, 2e3]))
    assert facts.volume == pytest.approx(1, abs=1e-6)
    assert facts.area == pytest.approx(6, abs=1e-6)


def test_inside_out_box_has_negative_volume():
    mesh = trimesh.creation.box()
    mesh.invert()
    assert mesh_facts(mesh).volume == pytest.approx(-1)


def test_torus_and_genus_two():
    torus = trimesh.creation.torus(1.0, 0.3)
    expect(torus, euler_number=0, watertight=True)
    double = trimesh.boolean.union([torus, moved(torus, [1.8, 0, 0])], engine="manifold")
    expect(double, euler_number=-2, watertight=True, components=1, self_intersections=0)


def test_open_cylinder_has_two_loops():
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    vertices = np.concatenate([np.insert(ring, 2, z, axis=1) for z in (0, 1)])
    a, b = np.arange(24), np.roll(np.arange(24), -1)
    faces = np.concatenate([np.stack([a, b, b + 24], 1), np.stack([a, b + 24, a + 24], 1)])
    expect(
        trimesh.Trimesh(vertices, faces, process=False),
        watertight=False,
        boundary_loops=2,
        euler_number=0,
        components=1,
        volume=None,
    )


def test_bow_tie_has_two_fans_at_one_vertex():
    expect(
        two_triangles_of_a_bow_tie(),
        non_manifold_vertices=1,
        non_manifold_edges=0,
        components=2,
        boundary_loops=2,
        euler_number=1,
        watertight=False,
    )


def test_three_faces_at_an_edge():
    mesh = trimesh.Trimesh(
        np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, 0, 0]]),
        [[0, 1, 2], [0, 1, 3], [0, 1, 4]],
        process=False,
    )
    expect(mesh, non_manifold_edges=1, watertight=False, components=1)


def test_a_flipped_face_is_not_watertight():
    mesh = trimesh.creation.box()
    faces = mesh.faces.copy()
    faces[3] = faces[3][::-1]
    expect(trimesh.Trimesh(mesh.vertices, faces, process=False), watertight=False, boundary_loops=0)


def test_spheres_apart_crossing_and_with_a_cavity():
    ball = trimesh.creation.icosphere(2)
    expect(ball + moved(ball, [3, 0, 0]), components=2, euler_number=4, self_intersections=0, watertight=True)
    assert mesh_facts(ball + moved(ball, [1, 0.1, 0.2])).self_intersections > 20
    cavity = trimesh.creation.icosphere(2, 0.5)
    cavity.invert()
    facts = expect(ball + cavity, components=2, euler_number=4, self_intersections=0, watertight=True)
    assert facts.volume == pytest.approx(ball.volume * (1 - 1 / 8))


def test_empty_mesh():
    expect(
        trimesh.Trimesh(), faces=0, watertight=False, components=0, boundary_loops=0, bounds=None, self_intersections=0
    )


def test_intersecting_pairs_of_a_soup_of_triangles():
    rng = np.random.default_rng(0)
    triangles = rng.uniform(0, 1, (1500, 1, 3)) + rng.uniform(-0.08, 0.08, (1500, 3, 3))
    open3d = import_open3d()
    soup = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(triangles.reshape(-1, 3)),
        open3d.utility.Vector3iVector(np.arange(4500, dtype=np.int32).reshape(-1, 3)),
    )
    expected = len(np.asarray(soup.get_self_intersecting_triangles()))
    assert expected > 500
    assert count_self_intersections(triangles.reshape(-1, 3), np.arange(4500).reshape(-1, 3)) == expected


def test_touching_is_not_intersecting():
    box = trimesh.creation.box()
    assert mesh_facts(box + moved(box, [1, 0, 0])).self_intersections == 0
    assert mesh_facts(box + moved(box, [1, 1, 0])).self_intersections == 0


def test_a_face_through_its_neighbour_at_one_vertex():
    """Two triangles with one corner in common, one poking through the other."""
    vertices = np.array([[0, 0, 0], [2, -1, 0], [2, 1, 0], [1, 0, -1], [1.2, 0, 1.0]])
    assert count_self_intersections(vertices, np.array([[0, 1, 2], [0, 3, 4]])) == 1
    assert count_self_intersections(vertices + [0, 0, 5e-9], np.array([[0, 1, 2], [0, 4, 3]])) == 1
    aside = vertices + np.array([0, 0, 0, 2, 2])[:, None] * [0, 1.0, 0]
    assert count_self_intersections(aside, np.array([[0, 1, 2], [0, 3, 4]])) == 0
