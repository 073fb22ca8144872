"""Repairs and simplifications of meshes. Each takes a mesh and gives a new one; none opens what was closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components

from recon.surface.topology import Topology, fans

if TYPE_CHECKING:
    import trimesh


class Simplified(NamedTuple):
    """A mesh of fewer faces, and a sentence where they are not as few as asked for or its topology changed."""

    mesh: trimesh.Trimesh
    note: str | None


def without_bad_faces(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh without faces that name a vertex twice, repeated faces, pairs of faces back to back, loose vertices."""
    faces = np.asarray(mesh.faces, np.int64)
    faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
    turned = np.take_along_axis(faces, (faces.argmin(1)[:, None] + np.arange(3)) % 3, 1)
    facing = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    low, middle, high = np.sort(faces, 1).T
    _, pair = np.unique(low * len(mesh.vertices) + middle, return_inverse=True)
    _, group = np.unique(pair * len(mesh.vertices) + high, return_inverse=True)
    surplus = np.bincount(group, facing)[group]  # of faces with the same vertices that face one way
    keep = facing * surplus > 0
    _, first = np.unique(np.where(keep, group, -1), return_index=True)
    keep &= np.isin(np.arange(len(faces)), first)
    return _compact(np.asarray(mesh.vertices), faces[keep])


def without_small_parts(mesh: trimesh.Trimesh, fraction: float) -> trimesh.Trimesh:
    """The mesh without the parts smaller than a fraction of the largest: by volume where closed, else by area.

    The wall of a cavity is a part of its own.
    """
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    triangles = np.asarray(mesh.triangles) - mesh.centroid
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    if topology.is_watertight:
        of_face = (triangles[:, 0] * normals).sum(1) / 6
    else:
        of_face = np.linalg.norm(normals, axis=1) / 2
    size = np.abs(np.bincount(topology.part_of_face, of_face))
    return _compact(np.asarray(mesh.vertices), topology.faces[(size >= fraction * size.max())[topology.part_of_face]])


def split_non_manifold(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with copies of the vertices where sheets touch: no edge has more than two faces, no vertex two fans.

    Where four or more faces meet at an edge, those stay together that bound the same wedge of the inside; a face that
    has no counterpart is left with an open edge.
    """
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64)
    fan = parted_fans(vertices, faces)
    _, corner = np.unique(fan, return_index=True)
    return _mesh(vertices[faces.ravel()[corner]], fan.reshape(-1, 3))


def parted_fans(vertices: Float64[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"]) -> Int64[np.ndarray, " c"]:
    """For each corner the number of the fan that it is of when sheets are parted where they touch: the vertex that it
    gets in `split_non_manifold`."""
    topology = Topology(faces, len(vertices))
    crowded = np.flatnonzero(topology.faces_of_edge > 2)
    sides = _sides_of(topology, crowded)
    first = np.cumsum(topology.faces_of_edge[crowded]) - topology.faces_of_edge[crowded]
    outside = np.zeros(len(crowded), bool)
    while True:
        fan = fans(faces, np.concatenate([topology.pairs, _paired(topology, vertices, sides, crowded, outside)]))
        split = Topology(fan.reshape(-1, 3), int(fan.max(initial=-1)) + 1)
        # An edge that both its sheets still share, as they run into one fan at both ends, is paired the other way.
        joined = np.flatnonzero(split.faces_of_edge[split.edge_of_side] > 2)
        shared = np.flatnonzero(np.isin(crowded, topology.edge_of_side[joined]) & ~outside)
        if not len(shared):
            return fan
        outside[shared[_one_a_cluster(topology, sides[first[shared]])]] = True


def simplified(mesh: trimesh.Trimesh, face_count: int) -> Simplified:
    """The mesh with about `face_count` faces (edges collapsed by quadric error, Garland & Heckbert 1997).

    A closed mesh stays closed: what the collapses joined is parted again, and if that does not help more faces are
    kept. Thin necks and handles may close; the note tells. An open mesh keeps its border as it is.
    """
    import fast_simplification

    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    faces = len(mesh.faces)
    vertices, center = np.asarray(mesh.vertices), mesh.bounds.mean(0)
    target = face_count
    while target < faces:
        found = fast_simplification.simplify(
            vertices - center, topology.faces.astype(np.int32), target_count=target, preserve_border=True
        )
        fewer = split_non_manifold(without_bad_faces(_mesh(found[0] + center, found[1])))
        after = Topology(np.asarray(fewer.faces), len(fewer.vertices))
        if after.is_watertight or (len(fewer.faces) and not topology.is_watertight):
            return Simplified(fewer, _note_on(topology, after, face_count))
        target *= 2
    return Simplified(mesh, _note_on(topology, topology, face_count))


def smoothed(mesh: trimesh.Trimesh, strength: float = 1.0) -> trimesh.Trimesh:
    """The mesh without its short waves; long ones, the volume and open borders stay.

    With S = averaging with the neighbours, 12 times at strength 1, the vertices become (I - (I - S)^4) x: each round
    gives back the smooth part of what was lost. What volume a closed mesh still misses is given back by moving all
    vertices along their normals.
    """
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    average = _averaging(topology)
    start = np.asarray(mesh.vertices) - mesh.bounds.mean(0)
    vertices = np.zeros_like(start)
    for _ in range(4):
        lost = start - vertices
        for _ in range(round(12 * strength)):
            lost = average @ lost
        vertices += lost
    result = _mesh(vertices, topology.faces)
    if topology.is_watertight and result.area > 0:
        missing = _mesh(start, topology.faces).volume - result.volume
        result.vertices = vertices + result.vertex_normals * missing / result.area
    result.vertices = result.vertices + mesh.bounds.mean(0)
    return result


def without_holes(mesh: trimesh.Trimesh, most_edges: int = 100) -> trimesh.Trimesh:
    """The mesh with every boundary loop of at most `most_edges` edges closed by a fan around its centre."""
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64)
    topology = Topology(faces, len(vertices))
    sides, loop = topology.boundary_sides, topology.loop_of_boundary_side
    length = np.bincount(loop)
    small = length <= most_edges
    number = np.cumsum(small) - 1
    sides, loop = sides[small[loop]], number[loop[small[loop]]]
    start, end = faces.ravel()[sides], np.roll(faces, -1, 1).ravel()[sides]
    centers = np.stack([np.bincount(loop, vertices[start, axis]) for axis in range(3)], 1) / length[small][:, None]
    caps = np.stack([end, start, len(vertices) + loop], 1)
    return _mesh(np.concatenate([vertices, centers]), np.concatenate([faces, caps]))


def _sides_of(topology: Topology, edges: Int64[np.ndarray, " e"]) -> Int64[np.ndarray, " s"]:
    """The sides of the edges, which ascend, edge by edge."""
    sides = np.flatnonzero(np.isin(topology.edge_of_side, edges))
    return sides[np.argsort(topology.edge_of_side[sides], kind="stable")]


def _paired(
    topology: Topology,
    vertices: Float64[np.ndarray, "v 3"],
    sides: Int64[np.ndarray, " s"],
    edges: Int64[np.ndarray, " e"],
    between_outside: Bool[np.ndarray, " e"],
) -> Int64[np.ndarray, "p 2"]:
    """Pairs of the sides of each of the edges: neighbours around it with the inside (or the outside) between them."""
    edge = np.searchsorted(edges, topology.edge_of_side[sides])
    face, n = sides // 3, sides % 3
    start, end, apex = (topology.faces[face, (n + m) % 3] for m in range(3))
    low, high = np.minimum(start, end), np.maximum(start, end)
    along = vertices[high] - vertices[low]
    u = np.cross(along, np.eye(3)[np.abs(along).argmin(1)])
    v = np.cross(along, u) / np.maximum(np.linalg.norm(along, axis=1), 1e-300)[:, None]
    towards = vertices[apex] - vertices[low]
    order = np.lexsort((np.arctan2((towards * v).sum(1), (towards * u).sum(1)), edge))
    # A face that runs from low to high has the inside at smaller angles, one that runs back at larger ones.
    upward = (start == low)[order] != between_outside[edge]
    last = np.r_[edge[1:] != edge[:-1], True]  # of the sides at an edge; the first ones follow it
    following = np.where(last, np.searchsorted(edge, edge), np.arange(len(edge)) + 1)
    opens = ~upward & upward[following]
    return np.stack([sides[order][opens], sides[order][following][opens]], 1)


def _one_a_cluster(topology: Topology, sides: Int64[np.ndarray, " s"]) -> Int64[np.ndarray, " c"]:
    """The first of each set of sides that hang together by common vertices: what is done to one does not matter to
    those of other sets."""
    face, n = sides // 3, sides % 3
    start, end = topology.faces[face, n], topology.faces[face, (n + 1) % 3]
    count = topology.vertex_count
    cluster = connected_components(csr_array((np.ones(len(sides)), (start, end)), (count, count)), directed=False)[1]
    return np.unique(cluster[start], return_index=True)[1]


def _averaging(topology: Topology) -> csr_array:
    """The matrix of S: half of a vertex, half of the mean of its neighbours; those on a border stay."""
    low_high = np.sort(np.stack([topology.faces, np.roll(topology.faces, -1, 1)], -1).reshape(-1, 2), 1)
    a, b = np.unique(low_high, axis=0).T
    n = topology.vertex_count
    links = csr_array((np.ones(2 * len(a)), (np.concatenate([a, b]), np.concatenate([b, a]))), (n, n))
    degree = links.sum(1)
    free = (degree > 0).astype(np.float64)
    free[topology.faces.ravel()[topology.boundary_sides]] = 0
    half = diags_array(free / (2 * np.maximum(degree, 1))) @ links
    return csr_array(half + diags_array(1 - free / 2))


def _note_on(before: Topology, after: Topology, wanted: int) -> str | None:
    """What a caller should tell of a simplification."""
    count = len(after.faces)
    if count > 1.1 * wanted and len(before.faces) > wanted:
        return f"{count:,} faces are kept instead of {wanted:,}: further collapses would fold the mesh or open it"
    if after.euler_number != before.euler_number:
        return (
            f"the Euler number changed from {before.euler_number} to {after.euler_number}: thin parts closed or split"
        )
    return None


def _mesh(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    import trimesh

    return trimesh.Trimesh(vertices, faces, process=False)


def _compact(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    """The mesh with only those vertices that a face uses."""
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return _mesh(vertices[used], (np.cumsum(used) - 1)[faces])
