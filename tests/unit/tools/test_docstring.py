"""Docstrings in Google style are read for what a model needs."""

import pytest

from flock.tools.docstring import read_docstring


def test_the_description_ends_where_the_sections_begin() -> None:
    text = """Search the shop.

        Looks at names and descriptions.

        Args:
            query: What to look for.

        Returns:
            The goods.
        """
    description, arguments = read_docstring(text)
    assert description == "Search the shop.\n\nLooks at names and descriptions."
    assert arguments == {"query": "What to look for."}


def test_an_argument_may_go_over_lines_and_name_its_type() -> None:
    text = """Search.

    Args:
        query (str): What to
            look for: words,
            or a number.
        limit(int, optional): How many.
        **rest: The rest.
    """
    assert read_docstring(text)[1] == {
        "query": "What to look for: words, or a number.",
        "limit": "How many.",
        "rest": "The rest.",
    }


def test_text_after_the_arguments_belongs_to_none() -> None:
    text = "Search.\n\nArgs:\n    query: What.\nAnd more: of it.\n    limit: No argument."
    assert read_docstring(text) == ("Search.", {"query": "What."})


@pytest.mark.parametrize("text", [None, "", "   \n "])
def test_no_docstring_says_nothing(text: str | None) -> None:
    assert read_docstring(text) == ("", {})


def test_a_colon_in_the_description_begins_no_section() -> None:
    assert read_docstring("Search: fast.\nArguments are good: yes") == (
        "Search: fast.\nArguments are good: yes",
        {},
    )
