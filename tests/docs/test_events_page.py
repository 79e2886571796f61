"""The page about events names all of them."""

from flock import events_schema

from .test_code_blocks import ROOT


def test_the_page_of_events_has_a_row_with_each_kind() -> None:
    kinds = [each["$ref"].rpartition("/")[2] for each in events_schema()["anyOf"]]
    lines = (ROOT / "docs" / "events.md").read_text(encoding="utf-8").splitlines()
    table = "\n".join(line for line in lines if line.startswith("|"))

    assert len(kinds) > 20
    assert [kind for kind in kinds if f"`{kind}`" not in table] == []
