"""Average linkage cut at a threshold, exact, from the pairs that lie under the threshold.

Average linkage merges two clusters when the mean of their pairwise distances is lowest. A mean under t needs one pair
under t, so the cut at t never joins texts of two connected components of the graph of close pairs; and because merge
heights never fall, what happens above t cannot change what was merged below. So each component is clustered alone, and
a component whose pairs are all close is one cluster without any clustering.

Where several merges have exactly the same height, average linkage has several valid answers, and a library's choice
depends on the order in which it walks the whole group. To give the published code's answer, a group is clustered whole
if a component of it is in doubt: in small groups any component that is not a clique, in larger ones a component whose
clusters change when its items are taken in reverse (in 542 small groups rich in ties, that test alone missed 2).
Beyond `LARGEST_WHOLE` items the choice is deterministic but may differ from a dense run's.
"""

from collections.abc import Callable

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from tasks.rewards.presets import FloatArray, IntArray

SMALL_GROUP = 256
LARGEST_WHOLE = 4096
"""The distances of 4 096 items take 134 MB, and clustering them as much again."""

Distances = Callable[[IntArray], FloatArray]
"""Square matrix of distances among the items of the given indices; only the upper triangle is read."""


def cluster_sizes(
    pairs: tuple[IntArray, IntArray], distances: Distances, threshold: float, groups: IntArray
) -> IntArray:
    """Size of every item's own cluster, given the pairs of one group that are closer than the threshold."""
    count = len(groups)
    graph = csr_array((np.ones(len(pairs[0]), dtype=np.int8), pairs), shape=(count, count))
    component = connected_components(graph, directed=False)[1].astype(np.int64)
    members = np.bincount(component, minlength=1)
    edges = np.bincount(component[pairs[0]], minlength=len(members))
    sizes: IntArray = members[component]
    group_sizes = np.bincount(groups, minlength=1)
    doubtful: set[int] = set()
    for part in _split(np.flatnonzero((edges != members * (members - 1) // 2)[component]), component):
        group = int(groups[part[0]])
        if group_sizes[group] <= SMALL_GROUP:
            doubtful.add(group)
            continue
        condensed = squareform(distances(part), checks=False)
        sizes[part] = _linked_sizes(condensed, threshold)
        if group_sizes[group] <= LARGEST_WHOLE and not _holds_in_reverse(condensed, sizes[part], threshold):
            doubtful.add(group)
    for group in doubtful:
        whole = np.flatnonzero(groups == group)
        sizes[whole] = _linked_sizes(squareform(distances(whole), checks=False), threshold)
    return sizes


def _split(items: IntArray, labels: IntArray) -> list[IntArray]:
    """The items by label."""
    if not len(items):
        return []
    order = items[np.argsort(labels[items], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _linked_sizes(condensed: FloatArray, threshold: float) -> IntArray:
    """Each item's cluster size by average linkage; clusters join below the threshold, not at it."""
    labels = fcluster(linkage(condensed, "average"), np.nextafter(threshold, 0), "distance")
    sizes: IntArray = np.bincount(labels)[labels]
    return sizes


def _holds_in_reverse(condensed: FloatArray, sizes: IntArray, threshold: float) -> bool:
    backwards = squareform(squareform(condensed)[::-1, ::-1], checks=False)
    return np.array_equal(sizes, _linked_sizes(backwards, threshold)[::-1])
