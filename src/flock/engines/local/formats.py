r"""What strings of a format look like: patterns a grammar can enforce and Pydantic accepts.

The grammar engine has formats of its own, and they follow the RFCs to the letter: a time may
end in a leap second, an e-mail address may be quoted, a URI may have any scheme. Python's
types are stricter, and a small model never ends an address that may go on. So each format is
a pattern that is bounded and lies within both.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flock.engines.local.json_types import Schema
from flock.engines.local.windows import dates_within, spans_within


class Format(NamedTuple):
    """How a format is enforced.

    Attributes:
        schema: Keywords for the grammar engine.
        length: The longest string that fits, in characters.
    """

    schema: Schema
    length: int


def _pattern(pattern: str, length: int) -> Format:
    return Format({"pattern": f"^(?:{pattern})$"}, length)


# 29 February is left out: whether it exists depends on the year.
_DATE = (
    r"[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,3})?"
_ZONE = r"(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_DURATION = (
    r"P(?:\d{1,4}D(?:T(?:\d{1,2}H)?(?:\d{1,2}M)?\d{1,2}S)?"
    r"|T(?:\d{1,2}H(?:\d{1,2}M)?(?:\d{1,2}S)?|\d{1,2}M(?:\d{1,2}S)?|\d{1,2}S)|\d{1,3}W)"
)
_LABEL = r"[a-z0-9]{1,20}"
# Registered, and none of those that are kept for special use, such as .test and .local.
_TOP = r"(?:com|org|net|edu|gov|info|io|dev|de|fr|it|es|nl|ch|at|uk|us|ca|jp|in|eu)"
_HOST = rf"{_LABEL}(?:-{_LABEL})?(?:\.{_LABEL}){{0,2}}\.{_TOP}"
_EMAIL = rf"[a-z0-9]{{1,20}}(?:[._-][a-z0-9]{{1,20}}){{0,2}}@{_LABEL}(?:-{_LABEL})?\.{_TOP}"
_PATH = r"(?:/[A-Za-z0-9._~-]{1,30}){0,6}/?"
_URI = rf"https?://{_HOST}(?::[1-9]\d{{1,3}})?{_PATH}(?:\?[a-z]{{1,12}}=[A-Za-z0-9]{{1,20}})?"
_OTHER_URI = rf"(?:ftp|wss?|redis|amqp|mongodb|mysql|postgresql)://{_HOST}(?::[1-9]\d{{1,3}})?"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV6 = r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}"
# A network's host bits must be zero, so whole octets and groups are.
_IPV4_NETWORK = rf"{_OCTET}(?:\.{_OCTET}\.{_OCTET}\.0/24|\.{_OCTET}\.0\.0/16|\.0\.0\.0/8)"
_IPV6_NETWORK = r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){3}::/64"
_FILE = r"/?[A-Za-z0-9._-]{1,40}(?:/[A-Za-z0-9._-]{1,40}){0,5}"
# Of regular expressions those without groups: whatever is written next, it compiles.
_REGEX_PART = r"(?:[A-Za-z0-9 _]|\\[dsw.]|\[[a-z]-z\])[*+?]?"


def _uuid(version: str) -> Format:
    return _pattern(
        rf"[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}",
        36,
    )


FORMATS: Final[dict[str, Format]] = {
    "date": _pattern(_DATE, 10),
    "time": _pattern(rf"{_CLOCK}{_ZONE}?", 18),
    "date-time": _pattern(rf"{_DATE}T{_CLOCK}{_ZONE}", 29),
    "duration": _pattern(_DURATION, 15),
    "email": _pattern(_EMAIL, 109),
    "idn-email": _pattern(_EMAIL, 109),
    "name-email": _pattern(rf"[A-Za-z]{{1,20}}(?: [A-Za-z]{{1,20}}){{0,2}} <{_EMAIL}>", 174),
    "hostname": _pattern(_HOST, 88),
    "idn-hostname": _pattern(_HOST, 88),
    "uri": _pattern(rf"{_URI}|{_OTHER_URI}", 330),
    "http-uri": _pattern(_URI, 330),
    "iri": _pattern(rf"{_URI}|{_OTHER_URI}", 330),
    "multi-host-uri": _pattern(_OTHER_URI, 110),
    "ipv4": _pattern(_IPV4, 15),
    "ipv6": _pattern(_IPV6, 39),
    "ipvanyaddress": _pattern(rf"{_IPV4}|{_IPV6}", 39),
    "ipv4network": _pattern(_IPV4_NETWORK, 18),
    "ipv6network": _pattern(_IPV6_NETWORK, 24),
    "ipvanynetwork": _pattern(rf"{_IPV4_NETWORK}|{_IPV6_NETWORK}", 24),
    "ipv4interface": _pattern(rf"{_IPV4}/(?:[12]?\d|3[0-2])", 18),
    "ipv6interface": _pattern(rf"{_IPV6}/(?:\d\d?|1[01]\d|12[0-8])", 43),
    "ipvanyinterface": _pattern(rf"{_IPV4}/(?:[12]?\d|3[0-2])", 18),
    "uuid": _uuid("[1-8]"),
    **{f"uuid{version}": _uuid(str(version)) for version in range(1, 9)},
    "base64": _pattern(r"(?:[A-Za-z0-9+/]{4}){0,32}", 128),
    "base64url": _pattern(r"(?:[A-Za-z0-9_-]{4}){0,32}", 128),
    "path": _pattern(_FILE, 246),
    "file-path": _pattern(_FILE, 246),
    "directory-path": _pattern(_FILE, 246),
    "regex": _pattern(rf"(?:{_REGEX_PART}){{1,20}}", 100),
    "color": _pattern(r"#[0-9a-f]{6}", 7),
}
"""Formats by name, those of JSON Schema and those that Pydantic adds."""


def within(said: Schema) -> Format | None:
    """Return how a date or a span of time within limits is enforced; None if it cannot be."""
    try:
        match said["format"]:
            case "date" if dates := dates_within(said):
                return _pattern(dates, 10)
            case "date-time" if dates := dates_within(said):
                return _pattern(rf"(?:{dates})T{_CLOCK}{_ZONE}", 29)
            case "duration" if spans := spans_within(said):
                return _pattern(spans, 15)
            case _:
                return None
    except (TypeError, ValueError):  # a limit that is none
        return None


FREE: Final = frozenset({"binary", "password"})
"""Formats that say nothing a grammar could enforce: any text is taken for them."""
