"""How the corners, edges and faces of a lattice cell are numbered.

Corner c of a cell stands at (c & 1, c >> 1 & 1, c >> 2 & 1). An edge is its axis and the lower of its two corners. A
face is the ring of its four corners, clockwise seen from outside the cell; its edge n joins corners n and n + 1.
"""

EDGES = tuple((axis, corner) for axis in range(3) for corner in range(8) if not corner >> axis & 1)


def edge_between(a: int, b: int) -> int:
    """The number of the edge between two neighbouring corners."""
    return EDGES.index(((a ^ b).bit_length() - 1, min(a, b)))


def _ring(axis: int, side: int) -> tuple[int, ...]:
    """The face at the lower (0) or upper (1) end of an axis."""
    u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
    ring = (0, v, v | u, u) if side else (0, u, u | v, v)
    return tuple(corner | side << axis for corner in ring)


FACE_CORNERS = tuple(_ring(axis, side) for axis in range(3) for side in range(2))
FACE_EDGES = tuple(tuple(edge_between(ring[n], ring[(n + 1) % 4]) for n in range(4)) for ring in FACE_CORNERS)
