"""Which points of a cloud are taken, against slow and plain ways to find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.inputs import PointCloud
from recon.thinning import chosen, count_distinct, isolation, nearest_neighbors, nearest_to_middle

PATH = Path("cloud.ply")


def of(points: np.ndarray, **options: object) -> PointCloud:
    return chosen(
        PointCloud(points, classification=(np.arange(len(points)) % 7).astype(np.uint8)), PointOptions(**options), PATH
    )


def refusal(points: np.ndarray, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        of(points, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-3, 5, (3000, 3)) * (1, 1, 0.2)


def test_one_point_a_cube_the_nearest_to_the_mean(points: np.ndarray):
    taken = nearest_to_middle(points, 0.7)
    cubes: dict[tuple, list[int]] = {}
    for i, point in enumerate(points):
        cubes.setdefault(tuple(((point - points.min(0)) / 0.7).astype(int)), []).append(i)
    assert len(taken) == len(cubes) and (np.diff(taken) > 0).all()
    for members in cubes.values():
        (one,) = set(members) & set(taken.tolist())
        distance = np.linalg.norm(points[members] - points[members].mean(0), axis=1)
        assert np.linalg.norm(points[one] - points[members].mean(0)) < distance.min() + 1e-12


def test_thinning_far_from_the_origin_takes_the_same(points: np.ndarray):
    points = np.round(points * 1024) / 1024
    far = points + [512_345.0, 5_412_345.0, 312.5]
    assert np.array_equal(nearest_to_middle(points, 0.5), nearest_to_middle(far, 0.5))


def test_thinning_of_points_at_one_place_and_of_many_cubes():
    assert len(nearest_to_middle(np.ones((10, 3)), 0.5)) == 1
    assert "is too little for points that extend over 1e+06" in refusal(np.diag([1e6, 1, 1]).repeat(2, 0), thin=0.1)


def test_attributes_follow_their_points(points: np.ndarray):
    thin = of(points, thin=1.0, sample=50)
    index = [int(np.flatnonzero((points == point).all(1))[0]) for point in thin.points]
    assert len(index) == 50 and index == sorted(index)
    assert np.array_equal(thin.classification, np.array(index) % 7)
    assert [note.split(" keeps")[0] for note in thin.notes] == ["--thin 1", "--sample 50"]
    assert np.array_equal(of(points, sample=50).points, of(points, sample=50).points)
    assert len(of(points, sample=5000).points) == 3000


def test_box_and_classes(points: np.ndarray):
    box = of(points, crop="-1,-1,-0.5,2,2.5,0.5", classes="1,3")
    inside = ((points >= [-1, -1, -0.5]) & (points <= [2, 2.5, 0.5])).all(1) & np.isin(np.arange(3000) % 7, [1, 3])
    assert np.array_equal(box.points, points[inside]) and 0 < inside.sum() < 3000


def test_neighbours_are_those_of_all_distances(points: np.ndarray):
    points = points[:400]
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    found, index = nearest_neighbors(points, 5)
    assert np.allclose(found, np.sort(distance, axis=1)[:, :5]) and np.array_equal(
        index, np.argsort(distance, 1)[:, :5]
    )
    few, which = nearest_neighbors(points, 5, np.array([7, 3]))
    assert np.array_equal(few, found[[7, 3]]) and np.array_equal(which, index[[7, 3]])


def test_outliers_go_and_the_sheet_stays():
    rng = np.random.default_rng(1)
    sheet = np.concatenate([rng.uniform(-1, 1, (4000, 2)), rng.normal(0, 0.002, (4000, 1))], axis=1)
    stray = rng.uniform(-1, 1, (200, 3)) + [0, 0, 1.5]
    kept = of(np.concatenate([sheet, stray]), drop_outliers=3.0)
    assert (kept.points[:, 2] < 0.1).sum() >= 3990 and (kept.points[:, 2] > 0.4).sum() == 0
    assert "--drop-outliers 3 keeps" in kept.notes[0]


def test_isolation_agrees_with_its_definition(points: np.ndarray):
    points = points[:300]
    distance = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, 1:17].mean(1)
    assert np.allclose(isolation(points), distance / np.median(distance))
    assert isolation(np.ones((30, 3))).max() == 0


def test_repeated_points_are_told(points: np.ndarray):
    twice = np.concatenate([points, points[:100], points[:1]])
    assert of(twice).notes == ("101 points repeat the coordinates of another one.",)
    assert count_distinct(twice) == 3000 and count_distinct(np.array([[0.0, 1, 2], [-0.0, 1, 2], [1, 0.0, 2]])) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop": "1,2,3"}, "--crop 1,2,3: needs six numbers"),
        ({"crop": "0,0,0,1,1,x"}, "needs six numbers"),
        ({"crop": "0,0,2,1,1,1"}, "must be less than its partner"),
        ({"crop": "90,90,90,91,91,91"}, "--crop 90,90,90,91,91,91: leaves none of the 3,000 points"),
        ({"classes": "2;6"}, "needs whole numbers from 0 to 255"),
        ({"classes": "99"}, "leaves none"),
    ],
)
def test_options_that_cannot_be_met(points: np.ndarray, options: dict[str, str], sentence: str):
    assert sentence in refusal(points, **options)


def test_points_without_classes(points: np.ndarray):
    with pytest.raises(UserError, match="have no classes"):
        chosen(PointCloud(points), PointOptions(classes="2"), PATH)


def test_what_cannot_span_a_surface():
    line = np.linspace(0, 1, 50)[:, None] * [1, 2, 3] + [500_000, 5_400_000, 100]
    assert "all of its 50 points lie on one line" in refusal(line)
    assert "has 1 different points; a surface needs at least 4" in refusal(np.ones((50, 3)))
    assert "has 3 different points" in refusal(np.eye(3))
    assert len(of(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])).points) == 4  # coplanar ones can
