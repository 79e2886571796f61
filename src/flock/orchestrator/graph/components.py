"""Strongly connected components: what leads to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def components(graph: Mapping[str, Iterable[str]]) -> list[frozenset[str]]:
    """Return the strongly connected components of a graph, single nodes among them.

    Tarjan's algorithm (R. Tarjan, Depth-first search and linear graph algorithms, SIAM J. Comput.
    1(2), 1972), without recursion: a chain of agents may be long.

    Args:
        graph: The successors of every node; those that are no nodes are left out.

    Returns:
        The components, a successor's before its predecessor's.
    """
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    found: list[frozenset[str]] = []
    for start in graph:
        if start in index:
            continue
        work = [(start, iter(sorted(graph[start])))]
        index[start] = lowest[start] = len(index)
        path.append(start)
        on_path.add(start)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in graph:
                    continue
                if successor not in index:
                    index[successor] = lowest[successor] = len(index)
                    path.append(successor)
                    on_path.add(successor)
                    work.append((successor, iter(sorted(graph[successor]))))
                    break
                if successor in on_path:
                    lowest[node] = min(lowest[node], index[successor])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                if lowest[node] == index[node]:
                    cut = path.index(node)
                    found.append(frozenset(path[cut:]))
                    on_path.difference_update(path[cut:])
                    del path[cut:]
    return found
