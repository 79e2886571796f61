"""Objects that a user names on the command line as MODULE:ATTRIBUTE."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Awaitable
from pathlib import Path
from types import ModuleType
from typing import cast

from flock.errors import DeclarationError, FlockError
from flock.orchestrator.flock import Flock


def load_named(name: str, what: str) -> object:
    """Import what `MODULE:ATTRIBUTE` or `FILE.py:ATTRIBUTE` names.

    A module is searched for in the current folder first; a file's folder comes first for what it
    imports itself, as when Python runs it.

    Args:
        name: The module's dotted name or the file's path, a colon, and the attribute in it, dotted
            if it is deeper.
        what: The option, for errors.

    Raises:
        DeclarationError: The name is not of that form, or names nothing. What the module itself
            raises goes through as the cause.
    """
    module_name, colon, path = name.rpartition(":")
    if not colon or not module_name or not path:
        msg = f"{what} takes MODULE:ATTRIBUTE, such as app:board, not {name!r}"
        raise DeclarationError(msg)
    file = Path(module_name)
    is_file = file.suffix == ".py"
    if is_file and not file.is_file():
        msg = f"{what} {name!r}: there is no file {module_name!r}"
        raise DeclarationError(msg)
    folder = str(file.resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: object = _of_file(file) if is_file else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if is_file or error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            msg = f"{what} {name!r}: importing {module_name!r} failed: {error!r}"
            raise DeclarationError(msg) from error
        msg = (
            f"{what} {name!r}: there is no module {error.name!r}; run the command in the folder "
            "that holds it, or install it"
        )
        raise DeclarationError(msg) from error
    except Exception as error:
        msg = f"{what} {name!r}: importing {module_name!r} failed: {error!r}"
        raise DeclarationError(msg) from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            msg = f"{what} {name!r}: {module_name!r} has no {path!r}{_boards_of(found)}"
            raise DeclarationError(msg) from None
    return found


async def make_board(name: str, what: str) -> Flock:
    """Return the board that a name leads to: a `Flock`, or what a function without arguments makes.

    Raises:
        DeclarationError: It leads to none.
    """
    made = load_named(name, what)
    if not isinstance(made, Flock) and callable(made):
        try:
            made = made()
            if inspect.isawaitable(made):
                made = await cast("Awaitable[object]", made)
        except FlockError:
            raise
        except Exception as error:
            msg = f"{what} {name!r} raised {error!r}; it is called without arguments"
            raise DeclarationError(msg) from error
    if not isinstance(made, Flock):
        msg = f"{what} {name!r} is no Flock, and returns none: {made!r}"
        raise DeclarationError(msg)
    return made


def load_board(name: str) -> Flock:
    """Return the board that a command's argument names, only to look at its declarations.

    Raises:
        DeclarationError: It names none.
    """

    async def made() -> Flock:
        board = await make_board(name, "BOARD")
        await board.shutdown(grace=0)  # a factory may have opened it
        return board

    return asyncio.run(made())


def _of_file(file: Path) -> ModuleType:
    """Import a file as the module that bears its name, so that it is the one others import."""
    path = file.resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        msg = f"{str(file)!r} is no Python file"
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[path.stem]
        else:
            sys.modules[path.stem] = before
        raise
    return module


def _boards_of(module: object) -> str:
    """Return a hint at the boards that a module does have."""
    names = (
        [name for name, value in vars(module).items() if isinstance(value, Flock)]
        if (isinstance(module, ModuleType))
        else []
    )
    return f"; it has {', '.join(map(repr, names))}" if names else ""
