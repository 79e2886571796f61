"""A file of recorded answers."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, Final, Literal, cast

from flock.errors import DeclarationError, EngineError
from flock.testing.recording.canonical import Json, Scrub, dumped, key_of, nearest, without_secrets

Mode = Literal["once", "record", "replay"]
"""When to ask, and when to answer from the file."""

_MODES: Final = ("once", "record", "replay")
_FORMAT: Final = 1


class NotRecorded(EngineError, LookupError):
    """A cassette holds no answer to a request; the message shows how the nearest one differs."""


class Cassette:
    """A file of requests and their answers, one JSON object a line, in the order of requests.

    Put it under version control: the diff shows what was asked and answered. Use a new
    `Cassette` for each test: it hands out the answers to equal requests one after the other.

    Args:
        path: Where the file is, or is going to be; folders are made.
        mode: `"once"`: replay if the file is there, else record. `"replay"`: never ask;
            the file has to be there. `"record"`: ask always, and write the file anew.
        scrub: Gets each text that is stored, and returns what is stored instead. Known keys,
            tokens and passwords become placeholders if it is left out.

    Raises:
        DeclarationError: The mode is unknown.
    """

    def __init__(
        self, path: str | Path, mode: Mode = "once", *, scrub: Scrub = without_secrets
    ) -> None:
        if mode not in _MODES:
            msg = f"the mode of a cassette is one of {', '.join(_MODES)}, not {mode!r}"
            raise DeclarationError(msg)
        self.path = Path(path)
        self.mode: Mode = mode
        self.scrub = scrub
        self._answers: dict[str, deque[Json]] = defaultdict(deque)
        self._counts: dict[str, int] = defaultdict(int)
        self._requests: dict[str, dict[str, Json]] = defaultdict(dict)
        self._notes: list[Json] = []
        self._slots: deque[Slot] = deque()
        self._is_loaded = False
        self._is_begun = False
        self._records = mode == "record"

    def __repr__(self) -> str:
        return f"Cassette({str(self.path)!r}, {self.mode!r})"

    @property
    def is_recording(self) -> bool:
        """Whether requests are asked and written, not answered from the file."""
        self._load()
        return self._records

    def notes(self, kind: str) -> list[Json]:
        """Return what was noted beside the answers, of one kind."""
        self._load()
        return [note[kind] for note in self._notes if kind in note]

    def note(self, kind: str, content: Json) -> None:
        """Note something beside the answers, unless it is there."""
        if content not in self.notes(kind):
            self._notes.append({kind: content})
            slot = self.reserve()
            slot.fill_line({kind: content})

    def take(self, kind: str, request: Json) -> Json:
        """Return the next recorded answer to a request.

        Raises:
            NotRecorded: There is none, or all of them were handed out.
        """
        self._load()
        key = key_of(kind, request)
        answers = self._answers[key]
        if answers:
            self._counts[key] += 1
            return answers.popleft()
        where = f"cassette {str(self.path)!r}"
        remedy = "delete the file, or use mode='record', to record anew"
        taken = self._counts[key]
        if taken:
            times = "once" if taken == 1 else f"{taken} times"
            msg = f"{where} holds this request {times}, and it was asked once more; {remedy}"
        elif recorded := list(self._requests[kind].values()):
            diff = nearest(request, recorded)
            msg = f"{where} holds no answer to this request; {remedy}. The nearest one:\n{diff}"
        else:
            msg = f"{where} holds no request of this kind; {remedy}"
        raise NotRecorded(msg)

    def reserve(self) -> Slot:
        """Take the next place in the file, for an answer that is yet to come."""
        slot = Slot(self)
        self._slots.append(slot)
        return slot

    def flush(self) -> None:
        """Write what is complete, up to the first answer that is yet to come."""
        lines: list[str] = []
        while self._slots and self._slots[0].is_closed:
            line = self._slots.popleft().line
            if line is not None:
                lines.append(dumped(line))
        if not lines:
            return
        if not self._is_begun:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, dumped({"cassette": _FORMAT}))
        mode = "a" if self._is_begun else "w"
        with self.path.open(mode, encoding="utf-8", errors="surrogatepass") as file:
            file.writelines(f"{line}\n" for line in lines)
        self._is_begun = True

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        if self.mode == "record":
            return
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogatepass")
        except FileNotFoundError:
            if self.mode == "once":
                self._records = True
                return
            self._is_loaded = False
            msg = f"there is no cassette {str(self.path)!r} to replay; record it with mode='once'"
            raise NotRecorded(msg) from None
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                self._read(line, number)

    def _read(self, line: str, number: int) -> None:
        try:
            entry: Any = json.loads(line)
            if not isinstance(entry, dict):
                raise TypeError("it is no object")  # noqa: TRY301 - told with its line
            parts = cast("Json", entry)
            if "cassette" in parts:
                if parts["cassette"] != _FORMAT:
                    raise ValueError("it was written by another version")  # noqa: TRY301
            elif "request" in parts:
                key = key_of(parts["kind"], parts["request"])
                self._answers[key].append(parts["answer"])
                self._requests[parts["kind"]][key] = parts["request"]
            else:
                self._notes.append(parts)
        except (ValueError, KeyError, TypeError) as error:
            msg = f"line {number} of cassette {str(self.path)!r} cannot be read: {error!r}"
            raise NotRecorded(msg) from error


class Slot:
    """A place in a cassette. Fill it or drop it: what comes after waits for that.

    Attributes:
        line: What is written; None for nothing.
        is_closed: Whether it is decided.
    """

    __slots__ = ("_cassette", "is_closed", "line")

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette
        self.line: Json | None = None
        self.is_closed = False

    def fill(self, kind: str, request: Json, answer: Json) -> None:
        """Write an answer."""
        self.fill_line({"kind": kind, "request": request, "answer": answer})

    def fill_line(self, line: Json) -> None:
        """Write a line."""
        self.line = line
        self.is_closed = True
        self._cassette.flush()

    def drop(self) -> None:
        """Write nothing, unless it is filled already."""
        if not self.is_closed:
            self.is_closed = True
            self._cassette.flush()


def cassette_of(cassette: Cassette | str | Path, mode: Mode | None) -> Cassette:
    """Return the cassette that a user named.

    Raises:
        DeclarationError: A mode is given beside a cassette, which has one.
    """
    if isinstance(cassette, Cassette):
        if mode is not None and mode != cassette.mode:
            msg = f"{cassette!r} has its mode already; give mode= to Cassette(...) instead"
            raise DeclarationError(msg)
        return cassette
    return Cassette(cassette, mode or "once")
