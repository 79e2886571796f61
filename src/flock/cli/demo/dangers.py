"""What the security reviewer knows: calls that are dangerous, and when they are not."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import NamedTuple

from flock.cli.demo.types import Severity

HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW


class Danger(NamedTuple):
    """Why a call is dangerous. The CWE is its number at cwe.mitre.org."""

    rule: str
    cwe: int
    severity: Severity
    message: str
    unless: Callable[[ast.Call], bool] = lambda _: False


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument of a call, if it is given."""
    return next((each.value for each in call.keywords if each.arg == name), None)


def is_constant(node: ast.expr | None, value: object) -> bool:
    """Whether an expression is this very constant."""
    return isinstance(node, ast.Constant) and node.value is value


def _given(name: str, position: int = 99) -> Callable[[ast.Call], bool]:
    """The call is in order with this argument, or with a `**mapping` that may have it."""

    def given(call: ast.Call) -> bool:
        return len(call.args) > position or any(each.arg in {name, None} for each in call.keywords)

    return given


def _literal(call: ast.Call) -> bool:
    return bool(call.args) and all(isinstance(each, ast.Constant) for each in call.args)


def _not_for_security(call: ast.Call) -> bool:
    return is_constant(keyword(call, "usedforsecurity"), value=False)


def _strong_algorithm(call: ast.Call) -> bool:
    name = call.args[0] if call.args else keyword(call, "name")
    weak = isinstance(name, ast.Constant) and str(name.value).lower() in {"md4", "md5", "sha1"}
    return not weak or _not_for_security(call)


def _safe_loader(call: ast.Call) -> bool:
    loader = call.args[1] if len(call.args) > 1 else keyword(call, "Loader")
    name = loader.attr if isinstance(loader, ast.Attribute) else getattr(loader, "id", "")
    return name in {"SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader"}


def _weights_only(call: ast.Call) -> bool:
    return is_constant(keyword(call, "weights_only"), value=True)


def _not_writable_for_all(call: ast.Call) -> bool:
    mode = call.args[1] if len(call.args) > 1 else keyword(call, "mode")
    if not (isinstance(mode, ast.Constant) and isinstance(mode.value, int)):
        return True
    return not mode.value & 0o002


_EVAL = Danger("eval", 95, HIGH, "runs text as code", _literal)
_SHELL = Danger("shell-command", 78, MEDIUM, "gives its command to a shell", _literal)
_LOADS = Danger("unsafe-load", 502, MEDIUM, "can run code hidden in what it loads")
_YAML = Danger("unsafe-load", 502, HIGH, "builds any object the text names", _safe_loader)
_HASH = Danger("weak-hash", 328, MEDIUM, "is broken as a hash for security", _not_for_security)
_NEW_HASH = _HASH._replace(unless=_strong_algorithm)
_CIPHER = Danger("weak-cipher", 327, HIGH, "is a broken cipher")
_UNVERIFIED = Danger("unverified-tls", 295, HIGH, "talks TLS to anybody: nothing is verified")
_TIMEOUT = Danger("no-timeout", 400, LOW, "may wait forever: no timeout", _given("timeout"))
_TEMPORARY = Danger("insecure-temporary-file", 377, MEDIUM, "names a file others can create first")

DANGEROUS_CALLS: dict[str, Danger] = {
    "eval": _EVAL,
    "exec": _EVAL,
    "os.system": _SHELL,
    "os.popen": _SHELL,
    "subprocess.getoutput": _SHELL,
    "subprocess.getstatusoutput": _SHELL,
    "asyncio.create_subprocess_shell": _SHELL,
    **dict.fromkeys(
        (
            *("pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads"),
            *("cPickle.load", "cPickle.loads", "dill.load", "dill.loads", "marshal.load"),
            *("marshal.loads", "shelve.open", "joblib.load", "jsonpickle.decode"),
            *("cloudpickle.load", "cloudpickle.loads", "pandas.read_pickle"),
        ),
        _LOADS,
    ),
    "torch.load": _LOADS._replace(unless=_weights_only),
    "yaml.load": _YAML,
    "yaml.load_all": _YAML,
    "yaml.unsafe_load": _YAML,
    "yaml.unsafe_load_all": _YAML,
    "yaml.full_load": _YAML._replace(severity=MEDIUM),
    "hashlib.md5": _HASH,
    "hashlib.sha1": _HASH,
    "hashlib.new": _NEW_HASH,
    "Crypto.Cipher.ARC4.new": _CIPHER,
    "Crypto.Cipher.DES.new": _CIPHER,
    "ssl._create_unverified_context": _UNVERIFIED,
    "tempfile.mktemp": _TEMPORARY,
    "os.tempnam": _TEMPORARY,
    "os.tmpnam": _TEMPORARY,
    "os.chmod": Danger(
        "world-writable", 732, MEDIUM, "lets every user write the file", _not_writable_for_all
    ),
    "jinja2.Environment": Danger(
        "no-autoescape", 79, MEDIUM, "writes HTML without escaping it", _given("autoescape")
    ),
    **dict.fromkeys(
        [f"requests.{verb}" for verb in ("get", "post", "put", "patch", "delete", "head")],
        _TIMEOUT,
    ),
    "urllib.request.urlopen": _TIMEOUT._replace(unless=_given("timeout", position=2)),
}
