"""Find what belongs together through others: a with b and b with c puts a and c together."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

LAST = "\uffff"  # sorts behind every label, so that a session is called after its own


def smallest_linked(nodes: Sequence, keys: Sequence[str]) -> pd.Series:
    """Return for each node the smallest key it is linked to, directly or through other nodes.

    ``nodes`` and ``keys`` have one entry a link. The index of the result is the nodes, each once.
    """
    from scipy.sparse import coo_array  # a start that makes no split does not pay for scipy
    from scipy.sparse.csgraph import connected_components

    node, names = pd.factorize(np.asarray(nodes, dtype=object))
    key, texts = pd.factorize(np.asarray(keys, dtype=object), sort=True)
    size = len(names) + len(texts)
    links = coo_array((np.ones(len(node)), (node, len(names) + key)), shape=(size, size))
    part = connected_components(links, directed=False)[1]  # (nodes + keys,)
    smallest = np.full(size, len(texts))
    np.minimum.at(smallest, part[len(names) :], np.arange(len(texts)))
    found = texts[smallest[part[: len(names)]]] if len(names) else []
    return pd.Series(found, index=pd.Index(names, dtype=object), dtype=object)


def linked(label: pd.Series, links: list[tuple]) -> pd.Series:
    """Give rows that share a key, of ``links`` (index, key), the smallest label among them."""
    if not links:
        return label
    nodes = [*label.index, *(row for row, _ in links)]
    return label.index.to_series().map(smallest_linked(nodes, [*label, *(key for _, key in links)]))
