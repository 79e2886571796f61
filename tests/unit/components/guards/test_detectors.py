"""What the built-in detectors find, and what they leave alone."""

import pytest

from flock import Finding, PiiDetector, SecretDetector
from flock.components.guards import Redactor

PII = [PiiDetector()]
SECRETS = [SecretDetector()]

# Put together here, so that no scanner of this repository takes them for secrets.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2" * 9
OPENAI = "sk-proj-" + "a1B2c3D4" * 5
STRIPE = "sk_live_" + "a1B2c3D4" * 3
SLACK = "xoxb-" + "1234567890-abcdef"
GOOGLE = "AIza" + "a1B2c3D" * 5
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl"
PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEowIBAAK\nAQEA\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to ann@example.com.", "write to [EMAIL]."),
        ("ann@example.com-signed", "[EMAIL]-signed"),
        ("ann@example.xn--p1ai", "[EMAIL]"),
        ("Ann <ann.lee+news@mail.example.co.uk>", "Ann <[EMAIL]>"),
        ("mailto:ann@example.com?subject=x", "mailto:[EMAIL]?subject=x"),
        ("jörg@bücher.example", "[EMAIL]"),
        ("a" * 70 + "@example.com", "[EMAIL]"),
        ("not an @address, a@b, @user, a@1.2", "not an @address, a@b, @user, a@1.2"),
        ("call +49 30 1234567 now", "call [PHONE] now"),
        ("0049-170-1234567", "[PHONE]"),
        ("+1 (212) 555-0187", "[PHONE]"),
        ("(212) 555-0187 or 212-555-0187", "[PHONE] or [PHONE 2]"),
        ("Tel. 030/123 45 67", "Tel. [PHONE]"),
        ("in 2024-01-31, 12:30:45, 1.000.000,00 or 1234567", None),
        ("IBAN DE89 3704 0044 0532 0130 00 at the bank", "IBAN [IBAN] at the bank"),
        ("GB29NWBK60161331926819", "[IBAN]"),
        ("gb29nwbk60161331926819", "[IBAN]"),
        ("GB28NWBK60161331926819 XX89370400440532013000", None),
        ("DE89370400440532013000X", None),
        ("card 4111 1111 1111 1111, 12/29", "card [CARD], 12/29"),
        ("4111-1111-1111-1111", "[CARD]"),
        ("378282246310005 and 3782 822463 10005", "[CARD] and [CARD 2]"),
        ("1 4111 1111 1111 1111", "1 [CARD]"),
        ("4111 1111 1111 1112 and 1234567890123452", None),
        ("from 203.0.113.7:8080", "from [IP_ADDRESS]:8080"),
        ("2001:db8::8a2e:370:7334", "[IP_ADDRESS]"),
        ("fe80::1ff:fe23:4567:890a, ok", "[IP_ADDRESS], ok"),
        ("127.0.0.1, ::1, 0.0.0.0, 1.2.3, 999.1.1.1, 1.2.3.4.5, 12:30:45", None),
        ("std::vector<int> a::b", None),
        ("Boston, MA 02110-1301, USA; clause 252.227-7013", None),
    ],
)
def test_personal_data_is_found_by_its_shape(text: str, redacted: str | None):
    assert Redactor(PII).redact(text)[0] == (text if redacted is None else redacted)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        *((f"use {key} here", "use [API_KEY] here") for key in (AWS, GITHUB, OPENAI, STRIPE)),
        *((f"use {key} here", "use [API_KEY] here") for key in (SLACK, GOOGLE)),
        (f"[{AWS}]", "[[API_KEY]]"),
        (f"Cookie: {JWT};", "Cookie: [JWT];"),
        (f"key:\n{PEM}\nend", "key:\n[PRIVATE_KEY]\nend"),
        (f"{PEM[:60]}", "[PRIVATE_KEY]"),
        ("postgresql://me:hunter2@db.example/app", "postgresql://me:[PASSWORD]@db.example/app"),
        ("password = correct-horse-7", "password = [PASSWORD]"),
        ('"passwd": "Tr0ub4dor&3"', '"passwd": "[PASSWORD]"'),
        ("api_key='9f86d081884c7d659a2feaa0c55ad015'", "api_key='[SECRET]'"),
        ("MY_TOKEN: q9Z2xV7bL4nK8wR1", "MY_TOKEN: [SECRET]"),
        ("Authorization: Bearer q9Z2xV7bL4nK8wR1", "Authorization: Bearer [SECRET]"),
        ("my secret is q9Z2xV7bL4nK8wR1 now", "my secret is [SECRET] now"),
        ("Authorization: Basic YW5uOnNlc2FtZQ==", "Authorization: Basic [PASSWORD]"),
        ("basic auth, basic math class and basic questions", None),
        ("token = get_token(user)", None),
        ("password: str, the password is secret", None),
        ("password=${PASSWORD}", None),
        ("key: 123456789012345678", None),
        ("the key is responsibility and token economy", None),
        ("https://example.com:8080/@user", None),
        ("public_key: X25519PublicKey, key = ed25519.Ed25519PrivateKey.from_bytes", None),
        ("private_key = ed25519.Ed25519PrivateKey.from_private_bytes(x)", None),
        ("':authority': 'localhost:8000'", None),
        ("keys = V2_RENAMED_KEYS.keys()", None),
        ("sk-learn, eyJhbGc, AKIA, ghp_short", None),
    ],
)
def test_secrets_are_found_by_shape_or_by_what_stands_beside_them(text: str, redacted: str | None):
    after, found = Redactor(SECRETS).redact(text)
    assert after == (text if redacted is None else redacted)
    assert bool(found) == (redacted is not None)


def test_only_the_kinds_asked_for_are_found():
    text = f"ann@example.com 203.0.113.7 {AWS}"
    assert Redactor([PiiDetector({"EMAIL"})]).redact(text)[0] == f"[EMAIL] 203.0.113.7 {AWS}"
    assert not Redactor([SecretDetector("JWT")]).find(text)
    with pytest.raises(ValueError, match=r"finds .*'EMAIL'.*not \['NAME'\]"):
        PiiDetector({"NAME"})


def test_the_same_value_has_the_same_placeholder_over_all_texts():
    redactor = Redactor(PII)
    assert redactor.redact("a@x.org b@x.org a@x.org")[0] == "[EMAIL] [EMAIL 2] [EMAIL]"
    assert redactor.redact("c@x.org b@x.org")[0] == "[EMAIL 3] [EMAIL 2]"


class Words:
    """Finds given words."""

    def __init__(self, kind: str, *words: str) -> None:
        self.kind, self.words = kind, words

    def find(self, text: str) -> list[Finding]:
        found: list[Finding] = []
        for word in self.words:
            start = text.find(word)
            while start >= 0:
                found.append(Finding(start, start + len(word), self.kind))
                start = text.find(word, start + 1)
        return found


def test_findings_that_overlap_become_one_of_the_longest_kind():
    redactor = Redactor([Words("SHORT", "bc"), Words("LONG", "abc", "cdef")])
    assert redactor.find("xabcdefx") == [Finding(1, 7, "LONG")]
    assert redactor.redact("xabcdefx")[0] == "x[LONG]x"


def test_a_detector_that_finds_its_own_placeholder_comes_to_an_end():
    text, _ = Redactor([Words("NAME", "NAME", "[")]).redact("a NAME")
    assert text.startswith("a ")
    assert "NAME" in text


def test_a_finding_is_a_piece_of_the_text_and_has_a_kind():
    for start, end in ((1, 1), (-1, 2), (3, 2)):
        with pytest.raises(ValueError, match="a piece of the text"):
            Finding(start, end, "X")
    with pytest.raises(ValueError, match="word in capitals"):
        Finding(0, 1, "e-mail")

    class Beyond:
        def find(self, text: str) -> list[Finding]:
            return [Finding(0, len(text) + 1, "X")]

    with pytest.raises(ValueError, match="behind the end of a text of 2"):
        Redactor([Beyond()]).find("ab")


@pytest.mark.parametrize(
    ("name", "text", "redacted"),
    [
        ("password", "correct-horse-7", "[PASSWORD]"),
        ("dbPassword", "p@ss(word)7", "[PASSWORD]"),
        ("apiKey", "a8f5f167f44f4964e6c998dee827110c", "[SECRET]"),
        ("access_tokens", "a8f5f167f44f4964e6c998dee827110c", "[SECRET]"),
        ("password", "not set", None),
        ("password", "required", None),
        ("password", "", None),
        ("author", "a8f5f167f44f4964e6c998dee827110c", None),
        ("key", "550e8400-e29b-41d4-a716-446655440000", None),
        ("compass", "correct-horse-7", None),
    ],
)
def test_secrets_are_found_by_the_name_of_their_field(name: str, text: str, redacted: str | None):
    after, found = Redactor(SECRETS).redact(text, name)
    assert after == (text if redacted is None else redacted)
    assert bool(found) == (redacted is not None)
    assert Redactor([Words("WORD", "horse")]).redact("horse", name)[0] == "[WORD]"
    assert not Redactor([SecretDetector("JWT")]).find(text, name)
