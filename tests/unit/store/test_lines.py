"""The lines of an export: what is refused, and that the error names the line."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flock.errors import SchemaTooNew, StoreError
from flock.store import lines
from flock.store.lines import ArtifactLine, EndLine, RunLine, read_lines

BOARD: dict[str, object] = {
    "kind": "board",
    "format": "flock-board",
    "version": 1,
    "flock": "0.1.0",
    "exported": 1.5,
}
ARTIFACT: dict[str, object] = {
    "kind": "artifact",
    "seq": 1,
    "id": "0197a6d2-7c1e-7b52-8f0a-6f1d2c3b4a59",
    "type": "app.Scan",
    "version": 1,
    "payload": {"patient": "p1"},
    "produced_by": "external",
    "correlation_id": "w",
    "created": 1767225600.25,
}
RUN: dict[str, object] = {
    "kind": "run",
    "id": "0197a6d2-7c1e-7b52-8f0a-6f1d2c3b4a60",
    "agent": "lab",
    "correlation_id": "w",
    "committed": 1767225601,
    "inputs": ["0197a6d2-7c1e-7b52-8f0a-6f1d2c3b4a59"],
}


def end(artifacts: int = 0, runs: int = 0, dead_letters: int = 0) -> dict[str, object]:
    counts = {"artifacts": artifacts, "runs": runs, "dead_letters": dead_letters}
    return {"kind": "end", **counts}


def file_of(*rows: object) -> io.BytesIO:
    made = [row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows]
    return io.BytesIO(b"".join(made))


def read(*rows: object) -> list[tuple[int, lines.Line]]:
    return list(read_lines(file_of(*rows), "x.jsonl"))


def test_a_whole_file_is_read_line_by_line() -> None:
    found = read(BOARD, ARTIFACT, RUN, end(1, 1))

    assert [(number, type(line)) for number, line in found] == [
        (2, ArtifactLine),
        (3, RunLine),
        (4, EndLine),
    ]


@pytest.mark.parametrize(
    "first",
    [b"", b"\n", b"{", b"[]\n", b"null\n", b'{"format": "other"}\n', b"\xff\xfe\n", b"[" * 5000],
)
def test_what_is_no_export_is_told_by_its_first_line(first: bytes) -> None:
    with pytest.raises(StoreError, match=r"x\.jsonl is no export of a board"):
        read_lines(file_of(first, ARTIFACT), "x.jsonl")


def test_a_newer_format_asks_for_a_newer_flock() -> None:
    with pytest.raises(SchemaTooNew, match="has version 2 of the format 'flock-board'"):
        read_lines(file_of({**BOARD, "version": 2, "more": True}), "x.jsonl")


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5])
def test_a_version_that_never_was_is_refused(version: object) -> None:
    with pytest.raises(StoreError, match=r"line 1 of x\.jsonl cannot be imported: version"):
        read_lines(file_of({**BOARD, "version": version}), "x.jsonl")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{broken\n", "JSON"),
        (b"\n", "JSON"),
        (b'"text"\n', "object"),
        (b"[" * 100_000 + b"\n", "JSON"),
        ({"kind": "agent"}, "kind|tag"),
        ({**ARTIFACT, "extra": 1}, "extra"),
        ({**ARTIFACT, "seq": 0}, "seq"),
        ({**ARTIFACT, "seq": "1"}, "seq"),
        ({**ARTIFACT, "seq": 2**63}, "seq"),
        ({**ARTIFACT, "id": "nobody"}, "id"),
        ({**ARTIFACT, "created": "NaN"}, "created"),
        ({**ARTIFACT, "created": 1e300}, "created"),
        ({**ARTIFACT, "correlation_id": ""}, "correlation_id"),
        ({**ARTIFACT, "tags": "urgent"}, "tags"),
        ({**ARTIFACT, "parents": ["x"]}, "parents"),
        ({**ARTIFACT, "visibility": {"kind": "Secret"}}, "visibility"),
        ({**ARTIFACT, "visibility": {"kind": "Tenant"}}, "visibility"),
        ({key: value for key, value in ARTIFACT.items() if key != "payload"}, "payload"),
    ],
)
def test_a_broken_line_is_refused_by_its_number(line: object, why: str) -> None:
    with pytest.raises(StoreError, match=rf"line 2 of x\.jsonl cannot be imported: .*({why})"):
        read(BOARD, line, end(1))


@pytest.mark.parametrize(
    ("rows", "number", "why"),
    [
        ([ARTIFACT], 3, "cut off"),
        ([ARTIFACT, end(2)], 3, "counts 2 lines of the kind 'artifact', and there were 1"),
        ([RUN, ARTIFACT, end(1, 1)], 3, "'artifact' lines come before"),
        ([ARTIFACT, ARTIFACT, end(2)], 3, "seq 1 comes after seq 1"),
        ([end(), ARTIFACT], 3, "something follows the end line"),
        ([BOARD, end()], 2, "kind|tag"),
    ],
)
def test_lines_that_do_not_fit_each_other_are_refused(
    rows: list[object], number: int, why: str
) -> None:
    with pytest.raises(StoreError, match=rf"line {number} of x\.jsonl cannot be imported: .*{why}"):
        read(BOARD, *rows)


def test_a_line_that_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 300)

    with pytest.raises(StoreError, match=r"line 2 of x\.jsonl .* longer than 300 bytes"):
        read(BOARD, {**ARTIFACT, "payload": "x" * 300}, end(1))


def test_the_error_does_not_repeat_what_the_line_holds() -> None:
    with pytest.raises(StoreError) as caught:
        read(BOARD, {**ARTIFACT, "seq": "s3cret"})

    assert "s3cret" not in str(caught.value)


@given(
    st.lists(st.one_of(st.binary(max_size=80), st.text(max_size=40).map(str.encode)), max_size=6)
)
def test_garbage_is_refused_and_nothing_else_happens(garbage: list[bytes]) -> None:
    rows = [row + b"\n" for row in garbage]

    with pytest.raises(StoreError, match=r"line \d+ of x\.jsonl cannot be imported"):
        read(BOARD, *rows)
    with pytest.raises(StoreError):
        read(*rows)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(ARTIFACT)), value=json_values)
def test_a_line_with_another_value_is_read_or_refused(key: str, value: object) -> None:
    try:
        [(_, line), _] = read(BOARD, {**ARTIFACT, key: value}, end(1))
    except StoreError:
        return
    assert isinstance(line, ArtifactLine)
