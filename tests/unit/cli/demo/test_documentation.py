from __future__ import annotations

import pytest

from flock.cli.demo.documentation import review_documentation
from flock.cli.demo.types import Severity
from tests.unit.cli.demo.source import file_with, found, rules

MODULE = '"""A module."""\n'


def test_what_is_public_needs_a_docstring() -> None:
    review = review_documentation(
        file_with("""
        class Public:
            def method(self): pass
            def _private(self): pass
            def __len__(self): pass
        class _Private:
            def method(self): pass
        async def function():
            def nested(): pass
        if condition:
            def conditional(): pass
    """)
    )
    assert sorted(found(review)) == [
        (1, "no-docstring"),
        (1, "no-docstring"),
        (2, "no-docstring"),
        (7, "no-docstring"),
        (10, "no-docstring"),
    ]
    assert (review.metrics.public, review.metrics.documented) == (5, 0)


@pytest.mark.parametrize(
    "path", ["pkg/_private.py", "_pkg/a.py", "tests/helpers.py", "pkg/test_a.py"]
)
def test_private_modules_and_tests_need_none(path: str) -> None:
    assert found(review_documentation(file_with("def f(): pass", path))) == []


@pytest.mark.parametrize("path", ["pkg/__init__.py", "pkg/__main__.py"])
def test_a_package_is_public(path: str) -> None:
    assert found(review_documentation(file_with("a = 1", path))) == [(1, "no-docstring")]


def test_an_empty_file_needs_none_and_is_said_unless_it_makes_a_package() -> None:
    assert found(review_documentation(file_with("", "pkg/__init__.py"))) == []
    assert found(review_documentation(file_with("# nothing\n"))) == [(1, "empty-file")]


@pytest.mark.parametrize(
    "decorator", ["override", "typing.override", "overload", "name.setter", "name.deleter"]
)
def test_what_is_explained_elsewhere_needs_none(decorator: str) -> None:
    code = f'{MODULE}class A:\n    """A."""\n    @{decorator}\n    def name(self): pass\n'
    assert found(review_documentation(file_with(code))) == []


def test_an_empty_docstring_explains_nothing() -> None:
    review = review_documentation(file_with(MODULE + 'def f():\n    """  """\n'))
    assert found(review) == [(2, "empty-docstring")]
    assert (review.metrics.public, review.metrics.documented) == (2, 1)


def test_the_described_arguments_are_those_of_the_signature() -> None:
    code = '''
        """A module."""
        def f(self, a, b, /, c, *args, d=1, _e=2, **kwargs):
            """Do it.

            Args:
                a: One.
                b (int): Two,
                    over two lines: here.
                c, d: Both.
                *args: More.

            Returns:
                other: This is no argument.
            """
    '''
    review = review_documentation(file_with(code))
    assert [each.message for each in review.findings] == [
        "f() does not describe its argument 'kwargs'"
    ]


def test_an_argument_that_is_none_is_worse_than_one_left_out() -> None:
    code = '''
        """A module."""
        def f(new):
            """Do it.

            Args:
                old: Was renamed.
            """
    '''
    review = review_documentation(file_with(code))
    assert [(each.rule, each.severity) for each in review.findings] == [
        ("undescribed-argument", Severity.LOW),
        ("unknown-argument", Severity.MEDIUM),
    ]


def test_a_docstring_in_another_style_is_not_judged() -> None:
    code = '''
        """A module."""
        def f(a):
            """Do it.

            :param b: One.

            Arguments:

            * a: One.
            """
    '''
    assert found(review_documentation(file_with(code))) == []


def test_a_class_docstring_may_describe_the_arguments_of_init() -> None:
    code = '''
        """A module."""
        class A:
            """A.

            Args:
                a: One.
            """
            def __init__(self, a, b): pass
    '''
    review = review_documentation(file_with(code))
    assert [each.message for each in review.findings] == ["A does not describe its argument 'b'"]


def test_raised_exceptions_are_listed_where_some_are() -> None:
    code = '''
        """A module."""
        def f(a):
            """Do it.

            Raises:
                ValueError: Sometimes.
                errors.Lost: Sometimes.
            """
            if a:
                raise ValueError
            if not a:
                raise TypeError("no")
            if a == 1:
                raise errors.Lost
            if a == 2:
                raise NotImplementedError
            def inner():
                raise OSError
            raise
        def g():
            """Do it."""
            raise KeyError
    '''
    assert found(review_documentation(file_with(code))) == [(12, "undescribed-exception")]


def test_open_work_is_found_in_comments_only() -> None:
    code = '''
        """A module. # TODO: not this one"""
        a = 1  # TODO: write more
        b = "# FIXME: nor this one"
        # XXX
    '''
    review = review_documentation(file_with(code))
    assert [(each.line, each.message) for each in review.findings] == [
        (2, "TODO: write more"),
        (4, "XXX: (no word on what)"),
    ]
    assert {each.severity for each in review.findings} == {Severity.INFO}


def test_a_syntax_error_takes_the_place_of_the_review() -> None:
    assert rules(review_documentation(file_with("a = = 1")).findings) == ["syntax-error"]
