"""Chunks are a list that costs the garbage collector nothing."""

import gc

import pytest

from flock.store.chunks import Chunks


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 3000])
def test_items_are_found_at_their_places(count: int) -> None:
    chunks: Chunks[int] = Chunks()
    for number in range(count):
        chunks.append(number)
    assert len(chunks) == count
    assert [chunks[i] for i in range(count)] == [*range(count)]


@pytest.mark.parametrize("position", [0, 5, 1024])
def test_a_place_beyond_the_end_is_an_index_error(position: int) -> None:
    chunks: Chunks[int] = Chunks()
    for number in range(position):
        chunks.append(number)
    with pytest.raises(IndexError):
        chunks[position]


def test_items_are_replaced_in_full_chunks_and_in_the_last_one() -> None:
    chunks: Chunks[int | None] = Chunks()
    for number in range(2500):
        chunks.append(number)
    chunks.replace({0: None, 1023: -1, 1024: -2, 2499: None})
    assert [chunks[i] for i in (0, 1, 1023, 1024, 1025, 2499)] == [None, 1, -1, -2, 1025, None]
    assert len(chunks) == 2500


def test_the_collector_does_not_track_full_chunks_of_plain_tuples() -> None:
    chunks: Chunks[tuple[int, str]] = Chunks()
    for number in range(2048):
        chunks.append((number, "x"))
    gc.collect()
    gc.collect()
    assert [gc.is_tracked(chunk) for chunk in chunks._full] == [False, False]
