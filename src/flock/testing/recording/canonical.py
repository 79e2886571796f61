"""Requests and answers as JSON that is always the same, readable, and free of credentials."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, cast

from pydantic_core import to_jsonable_python

from flock.components.guards import Redactor, SecretDetector
from flock.components.guards.content import changed_json

Json = dict[str, Any]

Scrub = Callable[[str], str]
"""Gets a text that is about to be stored, and returns what is stored instead."""

_CREDENTIAL: Final = re.compile(
    r"(?i)api[_-]?key|authorization|secret|password|token|credential|cookie|header"
    r"|(?:^|[_-])(?:key|auth)$"
)
"""Names of options whose values are never stored."""


LONG: Final = 2_000
"""Characters without a space above which a text is stored as its hash: images, files."""

_UNSCRUBBED: Final = 1_000_000
"""Characters of base64, the content of a file: above it a text is written as it is."""

_SHOWN: Final = 60
_WIDE: Final = 160


def without_secrets(text: str, name: str = "") -> str:
    """Return a text with placeholders for keys, tokens and passwords; see `SecretDetector`.

    Args:
        text: The text.
        name: Of the field or key that it stands under, if there is one.
    """
    return Redactor([SecretDetector()]).redact(text, name)[0]


def canonical(value: object, scrub: Scrub) -> Any:  # noqa: ANN401 - JSON
    """Return a value as JSON: texts scrubbed, long ones without spaces as their hash."""

    def stored(text: str, name: str) -> str:
        if len(text) > LONG and not re.search(r"\s", text):
            start = text[: text.find(",") + 1] if text.startswith("data:") else ""
            return f"{start}sha256:{sha256(text.encode(errors='surrogatepass')).hexdigest()}"
        return _scrubbed(text, name, scrub)

    return changed_json(to_jsonable_python(value, fallback=_name_of), stored)


def scrubbed(value: object, scrub: Scrub) -> Any:  # noqa: ANN401 - JSON
    """Return JSON with its texts scrubbed; nothing is shortened, it is to come back."""

    def stored(text: str, name: str) -> str:
        return text if len(text) > _UNSCRUBBED else _scrubbed(text, name, scrub)

    return changed_json(value, stored)


def _scrubbed(text: str, name: str, scrub: Scrub) -> str:
    return without_secrets(text, name) if scrub is without_secrets else scrub(text)


def _name_of(value: object) -> str:
    return type(value).__qualname__  # a repr may differ from one process to the next


def options(values: Mapping[str, Any], scrub: Scrub) -> Json:
    """Return a provider's options as JSON, without those that hold credentials."""
    found: Json = canonical(_without_credentials(values), scrub)
    return found


def _without_credentials(value: object) -> object:
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {
            key: "[CREDENTIAL]" if _is_credential(str(key), part) else _without_credentials(part)
            for key, part in items
        }
    if isinstance(value, list | tuple):
        return [_without_credentials(part) for part in cast("Sequence[object]", value)]
    return value


def _is_credential(name: str, value: object) -> bool:
    if isinstance(value, bool | int | float) or value is None:
        return False
    return _CREDENTIAL.search(name) is not None


def dumped(value: object) -> str:
    """Return JSON on one line, in one order of keys."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(", ", ": "))


def key_of(kind: str, request: object) -> str:
    """Return the key of a request: the hash of its JSON."""
    return sha256(f"{kind} {dumped(request)}".encode(errors="surrogatepass")).hexdigest()


def nearest(request: object, recorded: Sequence[object]) -> str:
    """Return how the most similar recorded request differs, as lines of a diff."""
    wanted = _lines(request)
    best: list[str] = []
    score = -1.0
    for candidate in recorded[-500:]:
        lines = _lines(candidate)
        ratio = difflib.SequenceMatcher(None, lines, wanted, autojunk=False).ratio()
        if ratio > score:
            best, score = lines, ratio
    diff = list(difflib.unified_diff(best, wanted, "recorded", "asked", lineterm="", n=1))
    shown = [line if len(line) <= _WIDE else f"{line[: _WIDE - 3]}..." for line in diff[:_SHOWN]]
    if len(diff) > _SHOWN:
        shown.append(f"... and {len(diff) - _SHOWN} more lines")
    return "\n".join(shown)


def _lines(value: object) -> list[str]:
    """Return JSON for people: a line for each value, and for each line of a text."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1)
    return text.replace("\\n", "\n").splitlines()
