"""Personal data: e-mail addresses, phone numbers, accounts, cards, network addresses.

Numbers with a check are checked, so that an order number is no card: cards by Luhn (ISO/IEC
7812-1, annex B), accounts by length and remainder (ISO 13616-1, ISO/IEC 7064 MOD 97-10).
Every search is bounded around each place where it begins, so that time grows with the text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Final

from flock.components.guards.findings import PII, Finding, chosen


class PiiDetector:
    """Finds personal data by its shape: no names, no street addresses.

    Kinds: `EMAIL`, `PHONE`, `IBAN`, `CARD` (payment cards), `IP_ADDRESS` (but for those of the
    machine itself).

    Args:
        kinds: What to look for; all of it if None.
    """

    def __init__(self, kinds: Iterable[str] | None = None) -> None:
        self.kinds = chosen(kinds, PII, "PiiDetector")

    def find(self, text: str) -> Iterator[Finding]:
        """Yield what is found in a text."""
        for kind, spans in _SEARCHES.items():
            if kind in self.kinds:
                for start, end in spans(text):
                    yield Finding(start, end, kind)


_Spans = Iterator[tuple[int, int]]

_DOMAIN: Final = re.compile(
    r"@(?:[^\W_](?:[\w-]{0,62})\.){1,10}(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,63})(?![^\W_])",
    re.IGNORECASE,
)
_LOCAL: Final = frozenset("!#$%&'*+-/=?^_`{|}~.")
_LONGEST: Final = 320
"""Characters of the longest address (RFC 3696, errata 1690, with room for other alphabets)."""


def _emails(text: str) -> _Spans:
    """Find addresses from their `@` (RFC 5322, 3.4.1, without quotes and comments)."""
    for domain in _DOMAIN.finditer(text):
        at = start = domain.start()
        while start and at - start < _LONGEST and _is_local(text[start - 1]):
            start -= 1
        while start < at and text[start] in ".'`{|}=/?&":  # of the sentence around it
            start += 1
        if start < at:
            yield start, domain.end()


def _is_local(character: str) -> bool:
    return character.isalnum() or character in _LOCAL


_PHONES: Final = (
    # International (ITU-T E.123): + or 00, then up to 15 digits.
    re.compile(
        r"(?<![\w+.])(?:\+|00(?=[1-9]))[1-9](?:[ .\u00a0/-]?(?:\(0?[0-9]{0,4}\))?"
        r"[ .\u00a0/-]?[0-9]){6,14}(?![0-9])"
    ),
    # North America: (212) 555-0187.
    re.compile(
        r"(?<![\w.+-])(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-]|[2-9][0-9]{2}([ .-])[2-9][0-9]{2}\1)"
        r"[0-9]{4}(?![\w-])"
    ),
    # National with a trunk prefix and a break behind the area: 030 1234567, 0171/123 45 67.
    re.compile(
        r"(?<![\w.+/-])\(?0[1-9][0-9]{1,3}\)?[ /-]{1,3}[0-9]{2,4}(?:[ -]?[0-9]{2,4}){1,3}(?![\w-])"
    ),
)


_FEWEST: Final = 10
"""Digits of a national number with its trunk prefix; postal codes have less."""


def _phones(text: str) -> _Spans:
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            if pattern is not _PHONES[-1] or sum(map(str.isdigit, match[0])) >= _FEWEST:
                yield match.span()


_IBAN_START: Final = re.compile(r"(?<![^\W_])[A-Za-z]{2}[0-9]{2}(?=[ -]?[A-Za-z0-9])")
_IBAN_COUNTRIES: Final = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in _IBAN_COUNTRIES.items()
    for country in countries.split()
}
"""Characters of an account number by country (the SWIFT registry of IBANs, release 99)."""


def _ibans(text: str) -> _Spans:
    for match in _IBAN_START.finditer(text):
        length = _IBAN_LENGTHS.get(match[0][:2].upper())
        if length is None:
            continue
        start = place = match.start()
        taken: list[str] = []
        while place < len(text) and len(taken) < length:
            character = text[place]
            if character.isascii() and character.isalnum():
                taken.append(character)
            elif character not in " -\u00a0" or text[place - 1] in " -\u00a0":
                break
            place += 1
        ends = place == len(text) or not (text[place].isascii() and text[place].isalnum())
        if len(taken) == length and ends and _has_remainder_one("".join(taken).upper()):
            yield start, place


def _has_remainder_one(iban: str) -> bool:
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


_CARD: Final = re.compile(
    r"(?<![0-9])(?=([0-9]{13,19}(?![0-9])"
    r"|[0-9]{4}([ -])[0-9]{4}\2[0-9]{4}\2[0-9]{1,4}(?:\2[0-9]{1,3})?(?![0-9])"
    r"|[0-9]{4}([ -])[0-9]{6}\3[0-9]{4,5}(?![0-9])))"
)
_ISSUED: Final = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|09|[689][0-9])[0-9]{11,16}"  # Diners
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2}|62[0-9]{2}|35(?:2[89]|[3-8][0-9]))[0-9]{12,15}"  # and others
    r"|(?:50|5[6-8]|6[037])[0-9]{11,17}"  # Maestro
)
"""Numbers by issuer: first digits and lengths (ISO/IEC 7812-1; the issuers' published ranges)."""


def _cards(text: str) -> _Spans:
    end = 0
    for match in _CARD.finditer(text):
        digits = match[1].replace(" ", "").replace("-", "")
        start = match.start(1)
        if start >= end and _ISSUED.fullmatch(digits) and _luhn(digits):
            end = match.end(1)
            yield start, end


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


_IPV4: Final = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-])(?!\.[0-9])")
_IPV6: Final = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]{2,40})[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,43}")


def _ips(text: str) -> _Spans:
    for match in _IPV4.finditer(text):
        if _is_elsewhere(match[0]):
            yield match.span()
    for match in _IPV6.finditer(text):
        found = match[0].rstrip(".")
        if found.endswith(":") and not found.endswith("::"):
            found = found[:-1]
        end = match.start() + len(found)
        is_bounded = end == len(text) or not (text[end].isalnum() or text[end] == "_")
        has_digit = any(c.isdigit() for c in found)
        if found.count(":") > 1 and has_digit and is_bounded and _is_elsewhere(found):
            yield match.start(), end


def _is_elsewhere(address: str) -> bool:
    """Whether it is an address, and not one of the machine itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified)


_SEARCHES: Final = {
    "EMAIL": _emails,
    "PHONE": _phones,
    "IBAN": _ibans,
    "CARD": _cards,
    "IP_ADDRESS": _ips,
}
