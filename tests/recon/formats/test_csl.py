"""CSL files written by hand from the grammar, with the oddities of real ones, and real ones against their mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon.errors import UserError
from recon.formats import SliceOptions, csl
from recon.inputs import CrossSections
from recon.slices import Plane

SQUARE = "0 0 {z}\n4 0 {z}\n4 4 {z}\n0 4 {z}\n"
PLANES = (
    "1 4 1 0 0 1 -1\n\n" + SQUARE.format(z=1) + "\n4 1 0 1 2 3\n2 4 1 0 0 1 -3\n" + SQUARE.format(z=3) + "4 1 0 1 2 3\n"
)
SQUARES = f"CSLC\n2 1\n\n{PLANES}"


def read(tmp_path: Path, text: str) -> CrossSections:
    path = tmp_path / "input.csl"
    path.write_bytes(text.encode())
    return csl.read(path, SliceOptions())


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(tmp_path / "input.csl"))


def label_at(plane: Plane, point: tuple[float, float, float]) -> int:
    """The label at a point of the plane: the smallest ring around it decides."""
    from shapely import Point, Polygon

    a, b = plane.to_plane(np.array([point]))[0]
    around = [(Polygon(r.vertices).area, r) for r in plane.rings if Polygon(r.vertices).contains(Point(a, b))]
    if not around:
        return 0
    ring = min(around, key=lambda pair: pair[0])[1]
    return 0 if ring.hole else ring.label


def ring_points(plane: Plane, ring: int = 0) -> np.ndarray:
    return plane.to_world(plane.rings[ring].vertices)


def test_vertices_keep_their_coordinates(tmp_path: Path):
    sections = read(tmp_path, SQUARES)
    np.testing.assert_allclose(
        ring_points(sections.planes[0]), [[0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]], atol=1e-12
    )
    np.testing.assert_allclose(sections.planes[1].normal, [0, 0, 1], atol=1e-12)
    assert [(label.id, label.name) for label in sections.labels] == [(1, "object")]
    assert sections.partition and sections.unit == "unknown" and sections.notes == ()


def test_a_byte_order_mark_does_not_matter(tmp_path: Path):
    assert len(read(tmp_path, "\ufeff" + SQUARES).planes) == 2


@pytest.mark.parametrize("newline", ["\r\n", "\n\n", " \n "])
def test_line_ends_blank_lines_and_outer_blanks_do_not_matter(tmp_path: Path, newline: str):
    sections = read(tmp_path, " " + SQUARES.replace(" ", "  ").replace("\n", newline))
    assert [len(plane.rings) for plane in sections.planes] == [1, 1]


def test_a_plane_is_placed_by_its_vertices_where_the_equation_is_wrong(tmp_path: Path):
    wrong_sign = SQUARES.replace("0 0 1 -1", "0 0 1 1").replace("0 0 1 -3", "0 0 1 3")
    sections = read(tmp_path, wrong_sign)
    assert [plane.origin[2] for plane in sections.planes] == pytest.approx([1, 3])
    assert any("off their equation" in note and "2 (plane 1, plane 2)" in note for note in sections.notes)
    tilted = SQUARES.replace("0 0 1 -1", "3 0 -14 14")  # neither unit nor parallel to the vertices' plane, other side
    np.testing.assert_allclose(read(tmp_path, tilted).planes[0].normal, [0, 0, -1], atol=1e-12)


def test_an_empty_plane_takes_the_sign_of_the_planes_with_vertices(tmp_path: Path):
    mirrored = SQUARES.replace("0 0 1 -1", "0 0 1 1").replace("0 0 1 -3", "0 0 1 3").replace("2 1\n", "3 1\n", 1)
    sections = read(tmp_path, mirrored + "3 0 0 0 0 2 10\n")
    empty = sections.planes[2]
    assert empty.rings == () and empty.origin == pytest.approx([2, 2, 5])
    assert any("nothing is there: 1 (plane 3)" in note for note in sections.notes)


def test_an_empty_plane_with_an_honest_equation_of_any_length(tmp_path: Path):
    sections = read(tmp_path, SQUARES.replace("2 1\n", "3 1\n", 1) + "3 0 0 0 0 -4 28\n")
    assert sections.planes[2].origin == pytest.approx([2, 2, 7])
    assert sections.planes[2].normal == pytest.approx([0, 0, -1])


def test_collinear_vertices_leave_the_normal_to_the_equation(tmp_path: Path):
    text = SQUARES.replace("2 1\n", "3 1\n", 1) + "3 3 1 0 0.6 0.8 -8\n1 0 10\n2 0 10\n3 0 10\n3 1 0 1 2\n"
    sections = read(tmp_path, text)
    assert sections.planes[2].normal == pytest.approx([0, 0.6, 0.8]) and sections.planes[2].rings == ()
    assert any("without area, left out: 1 (plane 3)" in note for note in sections.notes)


NESTED = """CSLC
2 20
1 20 5 0 0 1 0
0 0 0
20 0 0
20 20 0
0 20 0
2 2 0
18 2 0
18 18 0
2 18 0
4 4 0
16 4 0
16 16 0
4 16 0
6 6 0
9 6 0
9 9 0
6 9 0
10 10 0
14 10 0
14 14 0
10 14 0
4h4 2 4 7 6 5
4 3 8 9 10 11
4 7 15 14 13 12
4h1 1 16 17 18 19
4 5 0 3 2 1
2 4 1 0 0 1 -1
0 0 1
9 0 1
9 9 1
0 9 1
4 5 0 1 2 3
"""


def test_h_decides_holes_whatever_label_order_or_direction(tmp_path: Path):
    """Label 5 with a hole that comes before it and carries label 2; in the hole an island of label 3; in that a part of
    label 7 and a hole that carries label 1. All outer rings of plane 1 but one run clockwise."""
    sections = read(tmp_path, NESTED)
    plane = sections.planes[0]
    expected = {(1, 1): 5, (3, 3): 0, (5, 5): 3, (7, 7): 7, (12, 12): 0, (15, 15): 3, (21, 1): 0}
    assert {point: label_at(plane, (*point, 0.0)) for point in expected} == expected
    assert {(ring.label, ring.hole) for ring in plane.rings} == {
        (5, True),
        (5, False),
        (3, False),
        (3, True),
        (7, False),
    }
    assert [label.id for label in sections.labels] == [3, 5, 7]
    assert "The header declares 20 labels; the contours use 3." in sections.notes


def test_a_closing_vertex_that_repeats_the_first_is_dropped(tmp_path: Path):
    closed = SQUARES.replace("1 4 1 0 0 1 -1", "1 5 1 0 0 1 -1").replace("0 4 1\n", "0 4 1\n1e-12 0 1\n")
    closed = closed.replace("4 1 0 1 2 3", "5 1 0 1 2 3 4", 1)
    assert len(read(tmp_path, closed).planes[0].rings[0].vertices) == 4


def test_a_self_intersecting_ring_is_taken_by_the_even_odd_rule(tmp_path: Path):
    sections = read(tmp_path, SQUARES.replace("4 1 0 1 2 3", "4 1 0 2 1 3", 1))  # a bow tie with its knot at (2, 2)
    plane = sections.planes[0]
    found = {point: label_at(plane, (*point, 1.0)) for point in [(1, 2), (3, 2), (2, 1), (2, 3)]}
    assert found == {(1, 2): 1, (3, 2): 1, (2, 1): 0, (2, 3): 0}
    assert any("cross or touch themselves" in note and "1 (plane 1)" in note for note in sections.notes)


def test_contours_of_one_label_that_cross_are_remarked_and_joined(tmp_path: Path):
    from shapely import Polygon

    text = "CSLC\n2 1\n1 8 2 0 0 1 -1\n" + SQUARE.format(z=1) + "2 2 1\n9 2 1\n9 3 1\n2 3 1\n4 1 0 1 2 3\n4 1 4 5 6 7\n"
    sections = read(tmp_path, text + "2 4 1 0 0 1 -3\n" + SQUARE.format(z=3) + "4 1 0 1 2 3\n")
    (ring,) = sections.planes[0].rings
    assert Polygon(ring.vertices).area == pytest.approx(16 + 7 - 2)
    assert "Pairs of contours of one label that cross each other, joined: 1 (plane 1)." in sections.notes


def test_rings_that_share_vertices_or_edges_do_not_cross(tmp_path: Path):
    text = "CSLC\n2 2\n1 6 2 0 0 1 0\n0 0 0\n4 0 0\n4 4 0\n0 4 0\n9 0 0\n9 4 0\n4 1 0 1 2 3\n4 2 1 4 5 2\n"
    sections = read(tmp_path, text + "2 4 1 0 0 1 -3\n" + SQUARE.format(z=3) + "4 2 0 1 2 3\n")
    assert sections.notes == ()
    assert [label_at(sections.planes[0], (x, 1.0, 0.0)) for x in (2.0, 6.0)] == [1, 2]


def test_labels_from_zero_are_raised(tmp_path: Path):
    text = SQUARES.replace("4 1 0 1 2 3", "4 0 0 1 2 3", 1)
    assert [label.id for label in read(tmp_path, text).labels] == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ": the file is empty"),
        ("hello\n", ", line 1: a CSL file starts with the word CSLC"),
        ("CSLC\n", ": the file ends where the number of planes should follow"),
        ("CSLC\nmany 1\n", ", line 2: two counts"),
        ("CSLC\n0 1\n", ": holds 0 plane(s); a shape between planes needs at least two"),
        (f"CSLC\n1 1\n1 4 1 0 0 1 -1\n{SQUARE.format(z=1)}4 1 0 1 2 3\n", ": holds 1 plane(s)"),
        ("CSLC\n2 1\n1 0 0 0 0 1 0\n2 0 0 0 0 1 1\n", ": none of its 2 planes holds a contour"),
        (SQUARES.replace("2 1\n", "99 1\n", 1), ": the file ends where plane 3 of 99 should follow"),
        (SQUARES + "3 0 0 0 0 1 0\n", ", line 18: the file goes on after the last of the 2 planes"),
        (SQUARES.replace("1 4 1 0 0", "1 999999999 1 0 0"), ": plane 1 (line 4) promises 999999999 vertices"),
        (SQUARES.replace("4 1 0 1 2 3", "9 1 0 1 2 3", 1), ", line 11: the contour promises 9 vertices and lists 4"),
        (SQUARES.replace("4 1 0 1 2 3", "4 1 0 1 2 4", 1), ", line 11: the contour names a vertex beyond the 4"),
        (SQUARES.replace("4 1 0 1 2 3", "4 1 0 1 2 -1", 1), ", line 11: the contour names a vertex beyond the 4"),
        (SQUARES.replace("4 1 0 1 2 3", "4h7 1 0 1 2 3", 1), ", line 11: the hole's parent 7 is none of the 1"),
        (SQUARES.replace("4 1 0 1 2 3", "4h0 1 0 1 2 3", 1), ", line 4: plane 1 has a hole whose parent is a hole"),
        (SQUARES.replace("4 4 1\n", "4 nan 1\n"), ", line 8: a vertex is three numbers of at most 1e+12, no NaN"),
        (SQUARES.replace("4 4 1\n", "4 1e308 1\n"), ", line 8: a vertex is three numbers of at most 1e+12"),
        (SQUARES.replace("4 4 1\n", "4 four 1\n"), ", line 8: a vertex is three numbers"),
        (SQUARES.replace("4 4 1\n", "4 4\n"), ", line 8: a vertex is three numbers; here stand 2"),
        (SQUARES.replace("4 4 1\n", "4 4 2\n"), ", line 4: the vertices of plane 1 lie up to"),
        (SQUARES.replace("1 4 1 0 0 1 -1", "1 4 1 0 0 1"), ", line 4: plane 1 of 2 should start here"),
        (SQUARES.replace("4 1 0 1", "4 70000 0 1"), ": label 70000 is too large"),
        (SQUARES.replace("2 1\n", "3 1\n", 1) + "3 0 0 0 0 0 1\n", ", line 18: plane 3 has no normal"),
        (SQUARES.replace("2 1\n", "3 1\n", 1) + "3 0 0 0 0 1e308 1\n", ", line 18: plane 3 has no normal"),
        (SQUARES.replace("2 1\n", "3 1\n", 1) + "3 0 0 nan 0 1 1\n", ", line 18: plane 3 has no normal"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, says: str):
    assert refusal(tmp_path, text).startswith(says)


def test_noise_that_crosses_itself_without_end_is_refused(tmp_path: Path):
    points = np.random.default_rng(0).random((2000, 2))
    rows = "".join(f"{x} {y} 1\n" for x, y in points)
    ring = "2000 1 " + " ".join(map(str, range(2000)))
    text = f"CSLC\n2 1\n1 2000 1 0 0 1 -1\n{rows}{ring}\n2 4 1 0 0 1 -3\n{SQUARE.format(z=3)}4 1 0 1 2 3\n"
    assert "plane 1: its contours cross more than 10000 times" in refusal(tmp_path, text)


def test_thousands_of_labels_are_kept(tmp_path: Path):
    count = 3000
    rows = "".join(f"{2 * k} 0 0\n{2 * k + 1} 0 0\n{2 * k} 1 0\n" for k in range(count))
    rings = "".join(f"3 {k + 1} {3 * k} {3 * k + 1} {3 * k + 2}\n" for k in range(count))
    text = f"CSLC\n2 {count}\n1 {3 * count} {count} 0 0 1 0\n{rows}{rings}2 0 0 0 0 1 -1\n"
    assert len(read(tmp_path, text).labels) == count


def distance_to_mesh(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Exact distance to the nearest of the 60 triangles with the nearest centres."""
    from scipy.spatial import cKDTree
    from trimesh.triangles import closest_point

    near = cKDTree(triangles.mean(1)).query(points, k=60)[1]
    feet = closest_point(triangles[near.ravel()], np.repeat(points, 60, axis=0)).reshape(-1, 60, 3)
    return np.linalg.norm(feet - points[:, None], axis=2).min(1)


@pytest.mark.parametrize("name", ["eight_parallel12", "eight_oblique18", "hand_oblique18", "mammoth_parallel12"])
def test_real_contours_lie_on_the_mesh_that_they_were_cut_from(real_data: Path, name: str):
    import trimesh

    folder = real_data / "slices" / f"crosssdf_{name.partition('_')[0]}"
    sections = csl.read(folder / f"{name}.csl", SliceOptions())
    points = np.concatenate([plane.to_world(ring.vertices) for plane in sections.planes for ring in plane.rings])
    truth = trimesh.load_mesh(folder / "truth.stl")
    assert distance_to_mesh(points[:: len(points) // 300], np.asarray(truth.triangles)).max() < 1e-7
    assert len(sections.planes) == int(name[-2:])
