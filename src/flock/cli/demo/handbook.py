"""What is known of each kind of finding: its danger, and its remedy.

A small language model knows little, and makes up what it does not know. It is given this to
apply to the code at hand.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple


class Advice(NamedTuple):
    """What a reviewer with experience says of a rule, in sentences without a full stop.

    Attributes:
        danger: What can go wrong.
        remedy: What to do about it.
    """

    danger: str
    remedy: str


HANDBOOK: Final = MappingProxyType(
    {
        "complex-function": Advice(
            "a function with many branches is hard to read and to test in full, and a change "
            "easily breaks one of them",
            "move each group of branches into a smaller function with a name of its own",
        ),
        "deep-nesting": Advice(
            "a reader has to keep all the enclosing conditions in mind",
            "return early, or move the inner blocks into a function of their own",
        ),
        "long-function": Advice(
            "a function that fits no screen does several things, which cannot be tested apart",
            "split it where one thing ends and the next begins",
        ),
        "many-arguments": Advice(
            "callers mix up the order of arguments without an error, and calls are hard to read",
            "let them be given by name only, or gather those that belong together in a dataclass",
        ),
        "shell-command": Advice(
            "whoever controls a part of the command can run commands of their own",
            "pass the program and its arguments as a list, without a shell",
        ),
        "unverified-tls": Advice(
            "anybody on the way can read and change what is sent",
            "leave the verification of certificates on, and name the file of a private authority",
        ),
        "debug-server": Advice(
            "visitors reach the debugger and can run code on the server",
            "switch debug off, and on by an environment variable on developers' machines only",
        ),
        "sql-by-formatting": Advice(
            "a value that holds SQL changes the query, and reads or destroys other data",
            "write placeholders in the query and pass the values as parameters of execute()",
        ),
        "unfiltered-extract": Advice(
            "a crafted archive writes files outside of the folder",
            "pass filter='data' to the call",
        ),
        "hard-coded-secret": Advice(
            "everybody who can read the code has the secret",
            "read it from the environment or a secret store, and replace the one that was written "
            "down",
        ),
        "predictable-secret": Advice(
            "an attacker who has seen some values can compute the next ones",
            "take the value from the module secrets",
        ),
        "eval": Advice(
            "whoever controls the text runs code of their own in this program",
            "parse the text, and allow only the operations that are needed; ast.literal_eval() "
            "reads plain values",
        ),
        "unsafe-load": Advice(
            "whoever controls the data runs code of their own when it is loaded",
            "use a format that holds only data: json, or yaml.safe_load() for YAML",
        ),
        "weak-hash": Advice(
            "other data with the same hash can be made, and passwords guessed from it",
            "use hashlib.sha256(), and for passwords hashlib.scrypt() with a salt",
        ),
        "weak-cipher": Advice(
            "what is encrypted with it can be read without the key",
            "use AES-GCM or ChaCha20-Poly1305",
        ),
        "insecure-temporary-file": Advice(
            "another user can put a file or link of that name there first",
            "use tempfile.NamedTemporaryFile() or mkstemp(), which make the file at once",
        ),
        "world-writable": Advice(
            "every user of the machine can change the file",
            "give write permission to the owner only, such as 0o644",
        ),
        "no-autoescape": Advice(
            "a value that holds HTML runs scripts in the visitor's browser",
            "pass autoescape=select_autoescape()",
        ),
        "unknown-argument": Advice(
            "a reader of the docstring passes an argument that does not exist",
            "remove it from the docstring, or write the name that the function has for it",
        ),
        "syntax-error": Advice(
            "the file cannot be imported by this version of Python",
            "correct the syntax at that place, or leave the file out if it is not meant to run",
        ),
        "wrong-encoding": Advice(
            "the file cannot be imported",
            "save it as UTF-8, or name its encoding in the first line",
        ),
        "unreadable-file": Advice("nobody could review the file", "give read permission"),
        "unreadable-folder": Advice("nobody could review the folder", "give read permission"),
    }
)
"""Every rule that has findings of high or medium severity."""

UNKNOWN: Final = Advice("see what was found", "see what was found")
"""For any other rule."""
