"""Secrets: keys of well-known shapes, tokens, passwords, and random strings named as such.

The shapes are those that the providers document for secret scanning; the same are kept by
gitleaks (config/gitleaks.toml) and detect-secrets (plugins). Random strings beside a word like
`token` are told by their entropy, as detect-secrets does it (Shannon's, 4.5 bits a character
for base64 and 3 for hex; lowered here for short ones, which cannot reach that).
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from flock.components.guards.findings import SECRETS, Finding, chosen


class SecretDetector:
    """Finds credentials by their shape.

    Kinds: `API_KEY` (of well-known providers), `JWT` (RFC 7519), `PRIVATE_KEY` (PEM blocks, RFC
    7468), `PASSWORD` (in URLs, beside the word, of HTTP's basic authentication), `SECRET` (random
    strings beside words like `token` and `secret`, bearer tokens). The word may be the name of the
    field or key as well.

    Args:
        kinds: What to look for; all of it if None.
    """

    def __init__(self, kinds: Iterable[str] | None = None) -> None:
        self.kinds = chosen(kinds, SECRETS, "SecretDetector")

    def find(self, text: str) -> Iterator[Finding]:
        """Yield what is found in a text."""
        if "PRIVATE_KEY" in self.kinds:
            yield from (Finding(s, e, "PRIVATE_KEY") for s, e in _private_keys(text))
        for kind, pattern in _SHAPES:
            if kind in self.kinds:
                for match in pattern.finditer(text):
                    yield Finding(*match.span(match.lastindex or 0), kind)
        for kind, pattern, is_secret in _NAMED:
            if kind in self.kinds:
                for match in pattern.finditer(text):
                    if is_secret(match[1]):
                        yield Finding(*match.span(1), kind)

    def find_named(self, name: str, text: str) -> Iterator[Finding]:
        """Yield a text as a whole if it is a secret by the name that it stands under."""
        if not text or len(text) > _LONGEST or any(map(str.isspace, text)):
            return
        words = _CAMEL.sub("_", name)
        if "PASSWORD" in self.kinds and _PASSWORDS.search(words) and _is_password(text):
            yield Finding(0, len(text), "PASSWORD")
        elif "SECRET" in self.kinds and _SECRETS.search(words) and _is_random(text):
            yield Finding(0, len(text), "SECRET")


_PROVIDERS: Final = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS access keys
    r"gh[pousr]_[A-Za-z0-9]{36,255}",  # GitHub tokens
    r"github_pat_[A-Za-z0-9_]{22,255}",
    r"gl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_-]{20,255}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,255}",  # Slack
    r"xapp-[0-9]-[A-Za-z0-9-]{10,255}",
    r"sk-(?:ant-|proj-|svcacct-|admin-|or-)?[A-Za-z0-9_-]{20,255}",  # OpenAI, Anthropic, OpenRouter
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"GOCSPX-[A-Za-z0-9_-]{28}",
    r"ya29\.[A-Za-z0-9_-]{20,255}",
    r"(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,255}",  # Stripe
    r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}",  # SendGrid
    r"SK[0-9a-f]{32}",  # Twilio
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgE[A-Za-z0-9_-]{50,255}",
    r"hf_[A-Za-z0-9]{30,255}",  # Hugging Face
    r"gsk_[A-Za-z0-9]{40,255}",  # Groq
    r"do[opr]_v1_[a-f0-9]{64}",  # DigitalOcean
    r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",  # Shopify
    r"dapi[a-f0-9]{32}",  # Databricks
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",  # Telegram bots
    r"hvs\.[A-Za-z0-9_-]{24,255}",  # HashiCorp Vault
    r"AGE-SECRET-KEY-1[A-Z0-9]{58}",
)

_SHAPES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("API_KEY", re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_PROVIDERS)})(?![A-Za-z0-9])")),
    (
        "API_KEY",
        re.compile(r"hooks\.slack\.com/services/(T[A-Za-z0-9]{6,}/B[A-Za-z0-9]{6,}/[A-Za-z0-9]+)"),
    ),
    (
        "JWT",
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),
    ),
    ("PASSWORD", re.compile(r"(?<=://)[^\s:/@\[\]]{0,100}:([^\s:/@\[\]]{1,200})@")),
)

_PEM: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY: Final = re.compile(r"[A-Za-z0-9+/=\s\\:,.-]*")


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Find PEM blocks; one without an end goes on as far as it looks like one."""
    place, ends = 0, True
    while (begin := _PEM.search(text, place)) is not None:
        end = _PEM_END.search(text, begin.end()) if ends else None
        if end is not None:
            place = end.end()
        else:
            ends = False  # there is none further on either
            body = _PEM_BODY.match(text, begin.end())
            place = begin.end() if body is None else body.end()
        yield begin.start(), place


def entropy(text: str) -> float:
    """Return Shannon's entropy of a text's characters, in bits for each."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values()) if size else 0.0


def _is_random(value: str) -> bool:
    """Whether a value is long and irregular enough to be drawn by a machine."""
    if len(value) < 12 or not any(c.isdigit() for c in value) or value.isdigit():
        return False
    if all(c in "0123456789abcdefABCDEF" for c in value):
        return entropy(value) >= 2.8
    kinds = list(map(_kind_of, value))
    changes = sum(a != b for a, b in pairwise(kinds)) / (len(value) - 1)
    is_mixed = "a" in kinds and "A" in kinds
    return (
        changes >= (0.45 if is_mixed else 0.3)  # names of classes and constants have less
        and entropy(value) >= min(3.9, math.log2(len(value)) - 0.7)
    )


def _kind_of(character: str) -> str:
    if character.isdigit():
        return "0"
    return "a" if character.islower() else "A" if character.isupper() else "-"


def _is_password(value: str) -> bool:
    """Whether a value is no word, and no variable that stands for one."""
    is_mixed = any(c.isdigit() for c in value) or not value.isalnum()
    is_named = value.startswith(("$", "{", "<", "(", "%")) or value.endswith(("(", ")"))
    return is_mixed and not is_named and len(set(value)) > 3


def _is_basic(value: str) -> bool:
    """Whether a value is a name and a password in base64 (RFC 7617)."""
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except ValueError:
        return False
    return ":" in pair and pair.isprintable()


_LONGEST: Final = 512
"""Characters of the longest secret that is told by what stands beside it."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_ASSIGNED: Final = r"[\w-]{0,20}[\"']?[ \t]{0,4}(?:=>|:=|[:=]|\bis\b)[ \t]{0,4}[\"'`]?"
_VALUE: Final = rf"([^\s\"'`,;\[\]<>()]{{%d,{_LONGEST}}})"
_START: Final = r"(?<![^\W_])"
_PASSWORD_WORDS: Final = r"password|passwd|passphrase|passwort|pwd"
_SECRET_WORDS: Final = (
    r"api[ _-]?key|access[ _-]?key|account[ _-]?key|private[ _-]?key"
    r"|secret|token|credentials?|auth(?![a-z])"
)
_PASSWORDS: Final = re.compile(rf"(?i){_START}(?:{_PASSWORD_WORDS})")
_SECRETS: Final = re.compile(rf"(?i){_START}(?:{_SECRET_WORDS})")
"""Without `key` alone: what stands under that name in data is mostly an id."""

_NAMED: Final = (
    (
        "PASSWORD",
        re.compile(rf"(?i){_START}(?:{_PASSWORD_WORDS}){_ASSIGNED}{_VALUE % 6}"),
        _is_password,
    ),
    (
        "PASSWORD",
        re.compile(rf"(?i){_START}basic[ \t]{{1,4}}([\w+/-]{{4,{_LONGEST}}}={{0,2}})"),
        _is_basic,
    ),
    (
        "SECRET",
        re.compile(rf"(?i){_START}(?:{_SECRET_WORDS}|(?<!public.)key){_ASSIGNED}{_VALUE % 12}"),
        _is_random,
    ),
    ("SECRET", re.compile(rf"(?i){_START}bearer[ \t]{{1,4}}([\w.~+/=-]{{16,}})"), _is_random),
)
