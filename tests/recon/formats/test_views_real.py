"""Real sets of posed images, held against each other, against depth and against surfaces of known shape."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.formats import ViewOptions, read
from recon.inputs import PointCloud, View, Views
from render.cameras import Camera


def views_in(path: Path, **options: object) -> Views:
    views = read(path, ViewOptions(**options))  # pyright: ignore[reportArgumentType]
    assert isinstance(views, Views)
    return views


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and translation that take the points to the others best (Umeyama 1991)."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    left, sizes, right = np.linalg.svd((target - mean_t).T @ (source - mean_s))
    signs = np.diag([1, 1, np.linalg.det(left @ right)])
    rotation = left @ signs @ right
    scale = float((np.diag(signs) * sizes).sum() / ((source - mean_s) ** 2).sum())
    return scale, rotation, mean_t - scale * rotation @ mean_s


def inlying(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Which points are seen within the picture."""
    pixels, depth = camera.project(points)
    return (depth > 0) & (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1)


def agreements(view: View, cloud: PointCloud, step: int) -> np.ndarray:
    """How the cloud's colours correlate with the picture's at the points' pixels, and at pixels beside by one step."""
    assert cloud.colors is not None
    seen = inlying(cloud.points, view.camera)
    columns, rows = view.camera.project(cloud.points[seen])[0].astype(int).T
    image = view.image().astype(float)
    found = []
    for down in (-step, 0, step):
        for right in (-step, 0, step):
            beside = image[(rows + down).clip(0, len(image) - 1), (columns + right).clip(0, image.shape[1] - 1), :3]
            found.append(np.corrcoef(beside.ravel(), cloud.colors[seen].ravel())[0, 1])
    return np.array(found)


def test_a_nerf_synthetic_scene(real_data: Path) -> None:
    views = views_in(real_data / "posed" / "nerf_chair")
    assert len(views.views) == 120
    assert sum(view.held_out is True for view in views.views) == 40
    assert views.unposed == () and views.up == (0, 0, 1)
    distances = np.linalg.norm([view.camera.position for view in views.views], axis=1)
    np.testing.assert_allclose(distances, distances[0], rtol=1e-3)
    for view in views.views[::30]:  # the chair stands at the origin: its silhouette's middle is the middle
        alpha = view.image()[..., 3] > 127
        assert 0.1 < alpha.mean() < 0.6
        assert np.abs(np.argwhere(alpha).mean(0) - 200).max() < 45


@pytest.mark.parametrize(("name", "count", "fewest"), [("brighton_beach", 18, 3000), ("socketed_axe", 52, 3500)])
def test_a_model_of_colmap_against_its_photos(real_data: Path, name: str, count: int, fewest: int) -> None:
    """The colours that COLMAP gave its points are those of the undistorted photos, just where these show them."""
    views = views_in(real_data / "photos" / name / "reference_sparse")
    assert len(views.views) == count and views.unposed == ()
    assert views.points is not None and len(views.points.points) > fewest
    for view in views.views[::8]:
        agreement = agreements(view, views.points, step=8)
        assert agreement.argmax() == 4 and agreement[4] > 0.45  # the middle one of three by three places
    assert (views.views[0].mask is not None) == (name == "socketed_axe")


def test_brighton_beach_is_read_as_pycolmap_reads_it(real_data: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    folder = real_data / "photos" / "brighton_beach" / "reference_sparse"
    model = pycolmap.Reconstruction(str(folder))
    views = views_in(folder)
    by_name = {image.name: image for image in model.images.values()}
    for view in views.views:
        expected = by_name[Path(view.name).name].cam_from_world().matrix()
        np.testing.assert_allclose(view.camera.world_to_camera[:3], expected, atol=1e-12)
    expected_points = np.array([point.xyz for point in model.points3D.values()])
    assert views.points is not None
    np.testing.assert_allclose(np.sort(views.points.points, axis=0), np.sort(expected_points, axis=0))


def test_up_over_brighton_beach_is_away_from_the_ground(real_data: Path) -> None:
    views = views_in(real_data / "photos" / "brighton_beach" / "reference_sparse")
    assert views.points is not None
    _, _, axes = np.linalg.svd(views.points.points - views.points.points.mean(0), full_matrices=False)
    above = np.mean([view.camera.position for view in views.views], axis=0) - views.points.points.mean(0)
    normal = axes[2] * np.sign(axes[2] @ above)
    assert np.degrees(np.arccos(normal @ views.up)) < 5


def test_photoscan_and_colmap_agree_on_the_axe(real_data: Path) -> None:
    folder = real_data / "photos" / "socketed_axe"
    colmap = {view.name: view for view in views_in(folder / "reference_sparse").views}
    metashape = views_in(folder / "other_Socketed_axe_cameras.xml")
    assert len(metashape.views) == 48 and metashape.unit == "m"
    assert "2 of 50 listed images are not there and are left out: IMG_8861.JPG, IMG_8871.JPG." in metashape.notes
    assert len(metashape.unposed) == 4
    pairs = [(colmap[view.name].camera, view.camera) for view in metashape.views]
    ours, theirs = (np.array([pair[side].position for pair in pairs]) for side in (0, 1))
    scale, rotation, translation = similarity(ours, theirs)
    moved = scale * ours @ rotation.T + translation
    reach = np.linalg.norm(theirs - theirs.mean(0), axis=1).mean()
    assert np.linalg.norm(moved - theirs, axis=1).max() < 0.01 * reach
    for one, other in pairs:
        turn = other.world_to_camera[:3, :3] @ rotation @ one.world_to_camera[:3, :3].T
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 1.2
        assert one.intrinsics[0, 0] == pytest.approx(other.intrinsics[0, 0], rel=0.02)


def geocentric(longitude: float, latitude: float, height: float) -> np.ndarray:
    """Metres from the middle of the Earth (WGS 84), of degrees and a height above the ellipsoid."""
    a, e2 = 6378137.0, 6.69437999014e-3
    along, up = np.radians([longitude, latitude])
    n = a / np.sqrt(1 - e2 * np.sin(up) ** 2)
    return np.array(
        [(n + height) * np.cos(up) * np.cos(along), (n + height) * np.cos(up) * np.sin(along)]
        + [(n * (1 - e2) + height) * np.sin(up)]
    )


def test_a_drone_of_metashape_2_is_where_its_gps_says_and_flies_south(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "foreign" / "metashape_2.xml", tmp_path / "cameras.xml")
    folder = tmp_path / "000001-01" / "00"  # of another machine's path the last parts are there
    folder.mkdir(parents=True)
    Image.new("RGB", (5280, 3956)).save(folder / "000001-01_00001.JPG")
    views = views_in(tmp_path)
    assert views.unit == "m" and views.up == (0, 0, 1) and len(views.views) == 1
    told = np.array(views.notes[0].split("[")[1].rstrip("].").split(", "), float)
    assert np.linalg.norm(told - geocentric(-120.417985477, 39.41191747, 2420.109)) < 3  # metres; its GPS was corrected
    right, down, forward = views.views[0].camera.world_to_camera[:3, :3]
    assert forward[2] < -0.999 and -down[1] < -0.999  # looks straight down, its upper border to the south (yaw 179.9)
    assert np.allclose(np.cross(right, down), forward)


def test_the_reconstruction_of_opensfm(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "photos" / "berlin3"
    for folder in ("images", "masks"):
        shutil.copytree(source / folder, tmp_path / folder)
    shutil.copy(source / "reconstruction_example.json", tmp_path / "reconstruction.json")
    views = views_in(tmp_path)
    assert [view.name for view in views.views] == ["images/01.jpg", "images/02.jpg", "images/03.jpg"]
    assert views.unit == "m" and views.up == (0, 0, 1)
    assert views.points is not None and views.points.colors is not None
    for view in views.views:
        assert inlying(views.points.points, view.camera).mean() > 0.6
        agreement = agreements(view, views.points, step=8)
        assert agreement.argmax() == 4 and agreement[4] > 0.45
    mask = views.views[1].mask
    assert mask is not None and mask().mean() == pytest.approx(22819515 / 23970816, abs=0.01)  # its white pixels


@pytest.mark.slow
def test_projection_matrices_are_consistent_with_the_photos(real_data: Path) -> None:
    """Matches of SIFT features between photos lie on the epipolar lines of the matrices."""
    pycolmap = pytest.importorskip("pycolmap")
    views = views_in(real_data / "photos" / "buddha13", calibrated_width=2736, max_size=800)
    assert len(views.views) == 13
    assert any("another size than their cameras" in note for note in views.notes)
    found = []
    for first, second in ((1, 2), (3, 4), (6, 7)):
        one, other = views.views[first], views.views[second]
        keypoints, descriptors = zip(
            *(pycolmap.Sift().extract(view.image().mean(2).astype(np.uint8)) for view in (one, other)), strict=True
        )
        similar = descriptors[0] @ descriptors[1].T
        best = similar.argmax(1)
        mutual = np.flatnonzero(similar.argmax(0)[best] == np.arange(len(best)))
        second_best = np.partition(similar, -2, axis=1)[:, -2]
        angles = np.arccos(np.clip(np.stack([similar.max(1), second_best]), -1, 1))
        kept = mutual[(angles[0] < 0.8 * angles[1])[mutual]]
        found.append(epipolar_distances(one.camera, other.camera, keypoints[0][kept, :2], keypoints[1][best[kept], :2]))
    distances = np.concatenate(found)
    assert len(distances) > 15
    assert np.median(distances) < 1.0  # pixels


def epipolar_distances(one: Camera, other: Camera, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far the second pixels lie from the epipolar lines of the first."""
    relative = other.world_to_camera @ np.linalg.inv(one.world_to_camera)
    x, y, z = relative[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    fundamental = np.linalg.inv(other.intrinsics).T @ cross @ relative[:3, :3] @ np.linalg.inv(one.intrinsics)
    lines = np.concatenate([first, np.ones((len(first), 1))], axis=1) @ fundamental.T
    homogeneous = np.concatenate([second, np.ones((len(second), 1))], axis=1)
    return np.abs((lines * homogeneous).sum(1)) / np.linalg.norm(lines[:, :2], axis=1)


def test_labels_and_depth_of_a_room_against_its_true_surfaces(real_data: Path) -> None:
    import trimesh
    from scipy.ndimage import minimum_filter

    folder = real_data / "posed" / "room_a_instances"
    views = views_in(folder)
    assert [(label.id, label.name) for label in views.labels] == [
        *((1, "chair"), (2, "boombox"), (3, "bottle"), (4, "suzanne"), (5, "shoe"))
    ]
    assert sum(view.held_out is True for view in views.views) == 10
    meshes = {0: "00_room", 1: "01_chair", 2: "02_boombox", 3: "03_bottle", 4: "04_suzanne", 5: "05_shoe"}
    samples = {
        label: np.asarray(trimesh.load(folder / "truth" / f"{name}.ply").sample(4000, seed=0))  # pyright: ignore
        for label, name in meshes.items()
    }
    for view in views.views[::7]:
        assert view.depth is not None and view.labels is not None
        depth, labels = view.depth(), view.labels()
        nearest = minimum_filter(depth, 3)  # of a pixel and those around it: edges cross pixels
        for label, points in samples.items():
            seen = points[inlying(points, view.camera)]
            pixels, distance = view.camera.project(seen)
            columns, rows = pixels.astype(int).T
            assert (distance > nearest[rows, columns] - 0.02).mean() > 0.99  # no surface where the ray is free
            visible = np.abs(distance - depth[rows, columns]) < 0.02
            if visible.sum() > 200:
                assert (labels[rows, columns] == label)[visible].mean() > 0.9
