import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from recon.disjoint_sets import join, root


def test_sets_are_those_of_a_graph_and_their_roots_the_lowest_nodes():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 500, (2, 400))
    parent = np.arange(500)
    for one, other in zip(a, b, strict=True):
        join(parent, one, other)
    roots = np.array([root(parent, node) for node in range(500)])
    _, part = connected_components(coo_array((np.ones(400), (a, b)), (500, 500)), directed=False)
    lowest = np.unique(part, return_index=True)[1]
    assert np.array_equal(roots, lowest[part])
