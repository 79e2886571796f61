"""What leads to each other, compared with reachability computed the slow way."""

from hypothesis import given
from hypothesis import strategies as st

from flock.orchestrator.graph.components import components

nodes = st.sampled_from("abcdefg")
graphs = st.dictionaries(nodes, st.sets(nodes, max_size=4), max_size=7)


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for successor in graph[left.pop()]:
            if successor in graph and successor not in found:
                found.add(successor)
                left.append(successor)
    return found


@given(graphs)
def test_two_nodes_are_in_one_component_if_each_leads_to_the_other(
    graph: dict[str, set[str]],
) -> None:
    found = components(graph)
    assert sorted(node for part in found for node in part) == sorted(graph)
    ways = {node: reached(graph, node) for node in graph}
    for part in found:
        for a in part:
            for b in graph:
                together = a == b or (b in ways[a] and a in ways[b])
                assert (b in part) == together


@given(graphs)
def test_a_component_comes_after_what_it_leads_to(graph: dict[str, set[str]]) -> None:
    seen: set[str] = set()
    for part in components(graph):
        for node in part:
            assert {s for s in graph[node] if s in graph} <= seen | part
        seen |= part


def test_a_long_chain_needs_no_deep_stack() -> None:
    size = 50_000
    chain = {str(n): [str(n + 1)] for n in range(size)}
    assert len(components(chain)) == size
