"""Objects that a user names on the command line as MODULE:ATTRIBUTE."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from flock.errors import DeclarationError


def load_named(name: str, what: str) -> object:
    """Import what `MODULE:ATTRIBUTE` names; the current folder is searched first.

    Args:
        name: The module's dotted name, a colon, and the attribute in it, dotted if it is deeper.
        what: The option, for errors.

    Raises:
        DeclarationError: The name is not of that form, or names nothing. What the module itself
            raises goes through as the cause.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        msg = f"{what} takes MODULE:ATTRIBUTE, such as app:board, not {name!r}"
        raise DeclarationError(msg)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
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
            msg = f"{what} {name!r}: {module_name!r} has no {path!r}"
            raise DeclarationError(msg) from None
    return found
