"""Exact average linkage, cut at a threshold, from the pairs closer than the threshold.

Average linkage merges the two clusters with the lowest mean of pairwise distances. A mean under t needs one pair under
t, so the cut at t never joins two connected components of the graph of close pairs. Merge heights never fall, so merges
above t cannot change merges below t. Therefore each component is clustered alone, and a component whose pairs are all
close (a clique) is one cluster without any clustering.

Ties: if several merges have exactly the same height, average linkage has several valid results, and a library's choice
depends on the order in which it visits the whole group, distances over the threshold included. Shuffling 4 096
templated texts changes the dense computation's own penalties for 0.2 to 0.8 % of them. A group of at most `WHOLE_GROUP`
items with a component that may have several results (any component that is not a clique) is clustered whole and in the
given order, which is the published code's choice to the last bit. In a larger group each component is clustered in the
order of its `ranks`, so that the penalties do not depend on the order of the batch. They then differ from a dense run's
for no more texts than two dense runs differ from one another (`tests/bench/test_repetition_bench.py` measures both).
"""

from collections.abc import Callable

import numpy as np

from tasks.rewards.presets import FloatArray, IntArray

WHOLE_GROUP = 1024
"""Largest group that is clustered whole: 1 024 texts take about 0.1 s, and the cost grows with the square."""

Distances = Callable[[IntArray], FloatArray]
"""From item indices [n] to their distances, float64 [n, n]; only the upper triangle is read."""


def cluster_sizes(
    pairs: tuple[IntArray, IntArray], distances: Distances, threshold: float, groups: IntArray, ranks: IntArray
) -> IntArray:
    """Size of every item's cluster, int64 [items].

    `pairs`: indices of all pairs of one group with a distance under the threshold, first below second. `groups`: each
    item's group as a number from 0. `ranks`: an order of the items by content, not by position; equal items may share
    a rank.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count = len(groups)
    graph = csr_array((np.ones(len(pairs[0]), dtype=np.int8), pairs), shape=(count, count))
    component = connected_components(graph, directed=False)[1].astype(np.int64)
    members = np.bincount(component, minlength=1)
    edges = np.bincount(component[pairs[0]], minlength=len(members))
    sizes: IntArray = members[component]
    group_sizes = np.bincount(groups, minlength=1)
    components = _by_label(np.flatnonzero((edges != members * (members - 1) // 2)[component]), component)
    whole = {int(groups[part[0]]) for part in components if group_sizes[groups[part[0]]] <= WHOLE_GROUP}
    parts = [part[np.argsort(ranks[part])] for part in components if int(groups[part[0]]) not in whole]
    for part in [*parts, *(np.flatnonzero(groups == group) for group in whole)]:
        sizes[part] = _linked_sizes(distances(part), threshold)
    return sizes


def _by_label(items: IntArray, labels: IntArray) -> list[IntArray]:
    """The items grouped by their label."""
    if not len(items):
        return []
    order = items[np.argsort(labels[items], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _linked_sizes(square: FloatArray, threshold: float) -> IntArray:
    """Each item's cluster size by average linkage. Clusters merge below the threshold, not at it."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(square, checks=False), "average")
    labels = fcluster(tree, np.nextafter(threshold, 0), "distance")
    sizes: IntArray = np.bincount(labels)[labels]
    return sizes
