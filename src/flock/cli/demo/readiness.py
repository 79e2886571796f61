"""What it takes until a model can be asked: its extra, its name, its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.cli.models import show_pull
from flock.engines.dspy.loading import load_dspy
from flock.engines.dspy.models import LOCAL, OFFLINE_MODEL, model_for
from flock.engines.local import download
from flock.engines.local.files import find_model
from flock.engines.local.server import require
from flock.errors import DeclarationError, FlockError

if TYPE_CHECKING:
    from rich.console import Console


class ModelNotReady(Exception):
    """A model cannot be asked on this machine; the message says why, and what helps."""


def make_ready(model: str, console: Console, *, shows_progress: bool) -> None:
    """Pull a model of the catalogue unless it is here, and find out whether one can be asked.

    A hosted model is not asked for that: whether it answers is found out when it has to. It
    blocks for as long as the pull takes.

    Args:
        model: A model string.
        console: Where the pull is shown.
        shows_progress: Whether it is.

    Raises:
        ModelNotReady: An extra is not installed, or the model cannot be fetched.
        DeclarationError: The string names no model.
    """
    if model == OFFLINE_MODEL:
        return
    try:
        if model.startswith(LOCAL):
            require()  # first: its extra brings DSPy along
        load_dspy()
    except DeclarationError as error:
        raise ModelNotReady(str(error)) from error
    if not model.startswith(LOCAL):
        model_for(model)
        return
    file = find_model(model)
    try:
        if file.entry is not None and not file.path.is_file():
            size = file.entry.size_text
            console.print(f"Pulling {model} ({size}, once) ...", highlight=False, markup=False)
            with show_pull(console, wanted=shows_progress) as shown:
                download.pull(model, progress=shown)
        file.check()
    except FlockError as error:
        raise ModelNotReady(str(error)) from error
