"""What a closed manifold mesh is, checked from the definition."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def assert_closed_and_manifold(mesh):
    """Every directed edge once and its opposite once; the faces around every vertex form one fan."""
    faces, n = np.asarray(mesh.faces, np.int64), len(mesh.vertices)
    corner = np.arange(faces.size).reshape(-1, 3)
    start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
    start_corner, end_corner = corner.ravel(), np.roll(corner, -1, 1).ravel()
    there, back = start * n + end, end * n + start
    order, opposite = np.argsort(there), np.argsort(back)
    assert np.all(np.diff(there[order]) > 0), "two faces on the same side of an edge"
    assert np.array_equal(there[order], back[opposite]), "no face on the other side of an edge"
    # The corners at a vertex in the two faces of an edge are neighbours in a fan.
    a = np.concatenate([start_corner[order], end_corner[order]])
    b = np.concatenate([end_corner[opposite], start_corner[opposite]])
    fans, _ = connected_components(coo_array((np.ones(len(a)), (a, b)), (faces.size, faces.size)), directed=False)
    assert fans == len(np.unique(faces)) == n, "two fans meet at a vertex, or a vertex has no face"
