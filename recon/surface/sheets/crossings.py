"""Where a surface crosses the edges of a lattice, given at every corner the sheet nearest to it.

A field of sheets (`recon.fields.sheet_field`) knows no inside: the distance d at a corner is signed along an axis whose
direction means nothing. Whether an edge ab is crossed is decided twice.

1. *By the edge itself.* The axis at b is turned to agree with that at a, as it would be if it were carried along the
   surface from the one foot to the other (mirrored at the plane between the feet, so that it turns around creases).
   Then d changes its sign along a crossed edge, and there are samples near the place. Each edge has a confidence in its
   own answer: less where the axes disagree and where samples of the sheet are two spacings away. Where the feet are on
   different sheets, each sheet is asked at both ends: the edge may cross both.
2. *By all edges.* Every corner gets a side, +1 or -1, that changes across crossed edges: along a maximum spanning
   forest of confidence (Kruskal), then settled against the weighted majority of its edges. In a forest one wrong edge
   turns all behind it, so an edge counts less where the faces around it are crossed an odd number of times: a surface
   that enters a face leaves it again. An edge that is not sure of itself follows the sides of its ends. Around an
   open border and along the seam of a Moebius band sides cannot agree with all edges: there an edge that is sure keeps
   its answer, unless the surface is known to be closed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64
from numba import njit

from recon.fields.sheet_field import Local, SheetField
from recon.surface.sheets.lattice import Lattice, standing
from recon.surface.sheets.tiles import Region

SUPPORT = 2.0  # spacings to the nearest sample, at which a crossing is as likely as not
FAR = 2.7  # spacings: an edge with both ends farther from samples than this is not crossed
FAR_CONFIDENCE = 0.9  # where the surface is open: sides have to disagree somewhere, best away from the samples
APART = 0.35  # offset of the feet, in lengths of the edge, from which they lie on different sheets
SOFT = 0.3  # in lengths of the edge: feet nearer than this do not tell the direction of the surface
SAME_PLACE = 0.3  # crossings of two sheets nearer than this, in lengths of the edge, are one
OFF_SHEET = 0.25  # how far a crossing may be from its sheet, in lengths of the edge
SURE = 0.5  # confidence from which an edge keeps its answer
ROUNDS = 5
LEAST_SHARE = 0.05  # of its confidence an edge keeps that every face around it contradicts
GIVES_WAY = 1e-3  # of its confidence is what an edge outside the region weighs


class Crossings(NamedTuple):
    """Crossed edges with place and axis, and whether the side of +1 is behind the crossing, towards the edge's end.

    Those of one edge (at most two) stand together, edges ascending.
    """

    edge: Int64[np.ndarray, "m"]
    place: Float64[np.ndarray, "m 3"]
    axis: Float64[np.ndarray, "m 3"]
    behind: Bool[np.ndarray, "m"]


class Answers(NamedTuple):
    """What the edges say for themselves.

    `place` and `axis`: where they may be crossed, by the sheet at their start and by another one at their end;
    `crossed`: whether they think so; `confidence`: how sure they are; `support`: how far samples are from there, in
    their spacings (0 where no crossing was thought of); `far`: whether both ends are far from all samples.
    """

    place: Float64[np.ndarray, "e 2 3"]
    axis: Float64[np.ndarray, "e 2 3"]
    crossed: Bool[np.ndarray, "e 2"]
    confidence: Float64[np.ndarray, "e"]
    support: Float64[np.ndarray, "e"]
    far: Bool[np.ndarray, "e"]

    @property
    def odd(self) -> Bool[np.ndarray, "e"]:
        """Whether the ends lie on different sides."""
        return self.crossed[:, 0] != self.crossed[:, 1]


class Evidence(NamedTuple):
    """Answers, with their confidence where they are far from samples, and the sides of the corners."""

    answers: Answers
    side: Int8[np.ndarray, "k"]


def answers(lattice: Lattice, field: SheetField) -> Answers:
    """What every edge says for itself."""
    return _answers(lattice.corner_positions, lattice.edges, lattice.edge_lengths, field)


def answers_again(lattice: Lattice, field: SheetField, earlier: Lattice, given: Answers) -> Answers:
    """The same where what the edges of an earlier lattice say is known, which was extended to this one."""
    number = standing(lattice, earlier)
    new = np.flatnonzero(number < 0)
    corners, ends = np.unique(lattice.edges[new], return_inverse=True)
    of_new = _answers(lattice.corner_positions[corners], ends.reshape(-1, 2), lattice.edge_lengths[new], field)
    found = Answers(*(values.take(number, axis=0, mode="wrap") for values in given))
    for values, which in zip(found, of_new, strict=True):
        values[new] = which
    return found


def _answers(
    corners: Float64[np.ndarray, "k 3"],
    edges: Int64[np.ndarray, "e 2"],
    lengths: Float64[np.ndarray, "e"],
    field: SheetField,
) -> Answers:
    """What edges between these corners say for themselves."""
    local = field.at(corners)
    offset, crossed, confidence, sheet, place, axis = _of_one_sheet(corners, edges, lengths, *local[:4])
    a, b = edges.T
    both = np.flatnonzero(offset > APART)
    of_two = _of_two_sheets(corners, a[both], b[both], lengths[both], local, field)
    place[both], sheet[both], crossed[both], confidence[both] = of_two
    support = np.zeros(len(a))
    for which in range(2):
        asked = np.flatnonzero(crossed[:, which])
        at = field.on(sheet[asked, which], place[asked, which])
        off = np.abs(at.distance) / lengths[asked]
        confidence[asked] *= np.clip(np.minimum(np.abs(SUPPORT - at.gap), 4 * np.abs(OFF_SHEET - off)), 0.05, 1)
        crossed[asked, which] &= (at.gap < SUPPORT) & (off < OFF_SHEET)
        support[asked], axis[asked, which] = at.gap, at.axis
    far = np.minimum(local.gap[a], local.gap[b]) > FAR
    crossed[far] = False
    return Answers(place, axis, crossed, confidence, support, far)


def with_sides(given: Answers, lattice: Lattice, field: SheetField, within: Region, closed: bool) -> Evidence:
    """The sides that agree best with the edges' answers; where they cannot agree with all, edges that are not `within`
    the region give way."""
    confidence = np.where(given.far, 1.0 if closed else FAR_CONFIDENCE, given.confidence)
    turn = 1 - 2 * given.odd.astype(np.int8)
    weight = confidence * _agreement_around(lattice.edges, lattice.edge_at, given.odd)
    weight *= np.where(within(lattice.corner_positions)[lattice.edges].all(1), 1.0, GIVES_WAY)
    side = _sides(len(lattice.corners), lattice.edges, turn, _descending(weight))
    _settle(side, lattice.edges, turn, weight)
    a, b = lattice.edges.T
    support = given.support.copy()
    forced = np.flatnonzero((side[a] != side[b]) & ~given.odd & (support == 0))
    support[forced] = field.support(given.place[forced, 0])
    return Evidence(given._replace(confidence=confidence, support=support), side)


def decided(lattice: Lattice, evidence: Evidence, closed: bool, reach: float) -> Crossings:
    """The crossings within `reach` spacings of a sample; those of a closed surface follow the sides alone."""
    given, side = evidence
    a, b = lattice.edges.T
    differ, near = side[a] != side[b], given.support < reach
    keeps = np.zeros(len(a), bool) if closed else given.confidence > SURE
    crossed = given.crossed & (keeps | ((given.odd == differ) & near))[:, None]
    crossed[~keeps & differ & ~given.odd & near] = [True, False]
    edge, which = np.nonzero(crossed)
    place = given.place[edge, which]
    start = lattice.corner_positions[a[edge]]
    other = given.place[edge, 1 - which]
    is_second = crossed[edge].all(1) & (((place - start) ** 2).sum(1) > ((other - start) ** 2).sum(1))
    behind = (side[a[edge]] < 0) != is_second
    return Crossings(edge, place, given.axis[edge, which], behind)


def _of_two_sheets(
    corners: Float64[np.ndarray, "k 3"],
    a: Int64[np.ndarray, "e"],
    b: Int64[np.ndarray, "e"],
    length: Float64[np.ndarray, "e"],
    local: Local,
    field: SheetField,
) -> tuple[Float64[np.ndarray, "e 2 3"], Int64[np.ndarray, "e 2"], Bool[np.ndarray, "e 2"], Float64[np.ndarray, "e"]]:
    """Place, a sample that names the sheet, and whether crossed, for edges whose ends are near different sheets: by a's
    sheet and by b's. The confidence is less where a sheet turns between the ends, as it does beside a crease."""
    place, sheet = np.empty((len(a), 2, 3)), np.empty((len(a), 2), np.int64)
    crossed, confidence = np.empty((len(a), 2), bool), np.ones(len(a))
    for which, (start, end) in enumerate(((a, b), (b, a))):
        seen = field.on(local.reference[start], corners[end])
        ahead = local.distance[start]
        agreement = (seen.axis * local.axis[start]).sum(1)
        behind = seen.distance * np.sign(agreement)
        confidence = np.minimum(confidence, np.abs(agreement))
        crossed[:, which] = ahead * behind < 0
        share = np.abs(ahead) / np.maximum(np.abs(ahead) + np.abs(behind), 1e-300)
        place[:, which] = corners[start] + share[:, None] * (corners[end] - corners[start])
        sheet[:, which] = local.reference[start]
    near = np.linalg.norm(place[:, 0] - place[:, 1], axis=1) < SAME_PLACE * length
    crossed[near & crossed.all(1), 1] = False
    only_second = ~crossed[:, 0] & crossed[:, 1]
    for values in (place, sheet, crossed):
        values[only_second] = values[only_second][:, ::-1]
    return place, sheet, crossed, confidence


@njit(cache=True)
def _of_one_sheet(corners, edges, lengths, distance, axis, foot, reference):
    """For each edge, as if both ends were near one sheet: the offset of the feet, whether d changes its sign, how far
    the axes agree after one is carried to the other, a sample that names the sheet, where it is crossed, and the axis
    there. What is said of a crossing is said twice: there may be another one."""
    count = len(edges)
    offset, crossed, confidence = np.empty(count), np.zeros((count, 2), np.bool_), np.empty(count)
    sheet, place, between = np.empty((count, 2), np.int64), np.empty((count, 2, 3)), np.empty((count, 2, 3))
    for e in range(count):
        a, b = edges[e, 0], edges[e, 1]
        agreement = along_a = along_b = square = 0.0
        for k in range(3):
            step = foot[b, k] - foot[a, k]
            agreement += axis[a, k] * axis[b, k]
            along_a += axis[a, k] * step
            along_b += axis[b, k] * step
            square += step * step
        # n_b . (n_a - 2 e (e . n_a) / |e|^2) with e between the feet; the same from the other end
        relation = agreement - 2 * along_a * along_b / (square + (SOFT * lengths[e]) ** 2)
        offset[e] = min(abs(along_a), abs(along_b)) / lengths[e]
        confidence[e] = min(max(abs(relation), 0.02), 1.0) * max(1 - 0.5 * offset[e], 0.1)
        turn = 1.0 if relation >= 0 else -1.0
        crossed[e, 0] = distance[a] * distance[b] * turn < 0
        share = abs(distance[a]) / max(abs(distance[a]) + abs(distance[b]), 1e-300)
        same = 1.0 if agreement >= 0 else -1.0
        length = 0.0
        for k in range(3):
            place[e, 0, k] = place[e, 1, k] = corners[a, k] + share * (corners[b, k] - corners[a, k])
            between[e, 0, k] = (1 - share) * axis[a, k] + share * same * axis[b, k]
            length += between[e, 0, k] ** 2
        for k in range(3):
            between[e, 0, k] /= max(np.sqrt(length), 1e-300)
            between[e, 1, k] = between[e, 0, k]
        sheet[e, 0] = sheet[e, 1] = reference[a] if share < 0.5 else reference[b]
    return offset, crossed, confidence, sheet, place, between


def _descending(weights: Float64[np.ndarray, "e"]) -> Int64[np.ndarray, "e"]:
    """Indices of positive weights, the largest first: two rounds of the radix sort that numpy has for 16 bits, on the
    bits of floats, which are in the floats' order.

    The last eight bits are drawn by lot. On a flat sheet nearly all edges are as sure as can be, and if those alike
    came in the order of space, all contradictions would come to lie side by side and look like a sheet themselves.
    """
    lots = (np.arange(len(weights), dtype=np.uint32) * np.uint32(2654435769)) >> 24  # by multiplication (Knuth 1973)
    bits = ~weights.astype(np.float32).view(np.uint32) & ~np.uint32(255) | lots
    order = np.argsort(bits.astype(np.uint16), kind="stable")
    return order[np.argsort((bits >> 16).astype(np.uint16)[order], kind="stable")]


@njit(cache=True)
def _agreement_around(edges, edge_at, odd):
    """The share of the faces at each edge whose four edges agree, being crossed an even number of times together."""
    faces, even = np.zeros(len(edges), np.int32), np.zeros(len(edges), np.int32)
    face = np.empty(4, np.int64)
    for corner in range(len(edge_at)):
        for axis in range(3):
            other = (axis + 1) % 3
            face[0], face[1] = edge_at[corner, axis], edge_at[corner, other]
            if face[0] < 0 or face[1] < 0:
                continue
            face[2], face[3] = edge_at[edges[face[0], 1], other], edge_at[edges[face[1], 1], axis]
            if face[2] < 0 or face[3] < 0 or edges[face[2], 1] != edges[face[3], 1]:
                continue
            agree = not (odd[face[0]] ^ odd[face[1]] ^ odd[face[2]] ^ odd[face[3]])
            for e in face:
                faces[e] += 1
                even[e] += agree
    share = np.ones(len(edges))
    for e in range(len(edges)):
        if faces[e] > 0:
            share[e] = max(even[e] / faces[e], LEAST_SHARE)
    return share


@njit(cache=True)
def _sides(corner_count, edges, turn, order):
    """+1 or -1 for every corner, so that side_a * side_b = turn along a spanning forest of the first edges in order.

    link is minus a tree's size at its root; elsewhere twice the node above, and 1 more where that is on the other side.
    """
    link = np.full(corner_count, np.int32(-1))
    for e in order:
        a, other_a = _root(link, edges[e, 0])
        b, other_b = _root(link, edges[e, 1])
        if a == b:
            continue
        if link[a] > link[b]:
            a, b = b, a
        link[a] += link[b]
        link[b] = 2 * a + (other_a ^ other_b ^ (turn[e] < 0))
    side = np.empty(corner_count, np.int8)
    for corner in range(corner_count):
        side[corner] = 1 - 2 * _root(link, corner)[1]
    return side


@njit(cache=True)
def _root(link, node):
    """The root of a node's tree and whether the node is on the other side than it; the way there is halved."""
    other = np.int32(0)
    while link[node] >= 0:
        above = link[node]
        beyond = link[above >> 1]
        if beyond >= 0:
            above = beyond ^ (above & 1)
            link[node] = above
        other ^= above & 1
        node = above >> 1
    return node, other


@njit(cache=True)
def _settle(side, edges, turn, confidence):
    """Gives corners whose edges contradict them by weighted majority the other side, a few rounds (in place)."""
    for _ in range(ROUNDS):
        vote = np.zeros(len(side))
        for e in range(len(edges)):
            a, b = edges[e, 0], edges[e, 1]
            agreement = confidence[e] * turn[e] * side[a] * side[b]
            vote[a] += agreement
            vote[b] += agreement
        changed = 0
        for corner in range(len(side)):
            if vote[corner] < 0:
                side[corner] = -side[corner]
                changed += 1
        if changed == 0:
            return
