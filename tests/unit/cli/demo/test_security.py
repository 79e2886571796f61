from __future__ import annotations

import pytest

from flock.cli.demo.security import review_security
from flock.cli.demo.types import Severity
from tests.unit.cli.demo.source import file_with, found, rules


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("eval", "eval(text)"),
        ("eval", "exec(text)"),
        ("shell-command", "import os\nos.system(command)"),
        ("shell-command", "import subprocess as sp\nsp.run(command, shell=True)"),
        ("shell-command", "from subprocess import Popen as P\nP('a' + b, shell=True)"),
        ("unsafe-load", "import pickle\npickle.loads(data)"),
        ("unsafe-load", "from marshal import load\nload(file)"),
        ("unsafe-load", "import yaml\nyaml.load(text)"),
        ("unsafe-load", "import yaml\nyaml.load(text, Loader=yaml.Loader)"),
        ("unsafe-load", "import torch\ntorch.load(path)"),
        ("weak-hash", "import hashlib\nhashlib.md5(data)"),
        ("weak-hash", "import hashlib\nhashlib.new('SHA1', data)"),
        ("weak-cipher", "from Crypto.Cipher import DES\nDES.new(key)"),
        ("unverified-tls", "import requests\nrequests.get(url, verify=False, timeout=1)"),
        ("unverified-tls", "import ssl\nssl._create_unverified_context()"),
        ("unverified-tls", "context.check_hostname = False"),
        ("unverified-tls", "import ssl\ncontext.verify_mode = ssl.CERT_NONE"),
        ("no-timeout", "import requests\nrequests.get(url)"),
        ("insecure-temporary-file", "import tempfile\ntempfile.mktemp()"),
        ("world-writable", "import os\nos.chmod(path, 0o777)"),
        ("no-autoescape", "from jinja2 import Environment\nEnvironment()"),
        ("debug-server", "from flask import Flask\napp.run(debug=True)"),
        ("sql-by-formatting", "db.execute(f'SELECT * FROM t WHERE a = {a}')"),
        ("sql-by-formatting", "q = 'delete from t where a = %s' % a"),
        ("sql-by-formatting", "q = 'insert into t values ({})'.format(a)"),
        ("sql-by-formatting", "q = 'update t set a = ' + a"),
        ("unfiltered-extract", "import tarfile\ntarfile.open(p).extractall(d)"),
        ("swallowed-error", "try: a()\nexcept: pass"),
        ("swallowed-error", "try: a()\nexcept Exception: pass"),
        ("every-interface", "serve(host='0.0.0.0')"),
        ("every-interface", "s.bind(('0.0.0.0', 80))"),
        ("predictable-secret", "import random\ntoken = ''.join(random.choices(abc, k=9))"),
        ("hard-coded-secret", "password = 'hunter2!'"),
        ("hard-coded-secret", "connect(user='a', password='hunter2!')"),
        ("hard-coded-secret", "settings = {'api_key': 'k39dk20d'}"),
        ("hard-coded-secret", "def f(user, password='hunter2!'): pass"),
        ("hard-coded-secret", "def f(*, secret='hunter2!'): pass"),
        ("hard-coded-secret", "if password == 'hunter2!': pass"),
        ("hard-coded-secret", "self.db_password: str = 'hunter2!'"),
        ("hard-coded-secret", "os.environ['SECRET_KEY'] = 'hunter2!'"),
        ("hard-coded-secret", "x = 'AKIA" + "Z2QWERTYUIOPASDF'"),
        ("hard-coded-secret", "x = 'ghp_" + "a1" * 18 + "'"),
        ("assert-as-check", "def f(n):\n    assert n > 0"),
    ],
)
def test_dangerous_code_is_found(rule: str, code: str) -> None:
    review = review_security(file_with(code))
    assert rules(review.findings) == [rule]
    assert all("CWE-" in finding.message for finding in review.findings)


@pytest.mark.parametrize(
    "code",
    [
        "eval('1 + 1')",
        "frame.eval(text)",
        "from ast import literal_eval as eval\neval(text)",
        "import os\nos.system('clear')",
        "import subprocess\nsubprocess.run(['ls', path])",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import yaml\nyaml.safe_load(text)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import hashlib\nhashlib.md5(data, usedforsecurity=False)",
        "import hashlib\nhashlib.new('sha256', data)",
        "import requests\nrequests.get(url, timeout=3)",
        "import requests\nrequests.get(url, **options)",
        "save(verify=False)",
        "import os\nos.chmod(path, 0o644)",
        "from jinja2 import Environment\nEnvironment(autoescape=True)",
        "db.execute('SELECT * FROM t WHERE a = ?', (a,))",
        "print(f'selected {a} from b')",
        "q = 'select a from t ' + 'where b'",
        "import tarfile\ntarfile.open(p).extractall(d, filter='data')",
        "try: a()\nexcept ValueError: pass",
        "try: a()\nexcept Exception: log()",
        "address == '0.0.0.0'",
        "import random\nx = random.random()",
        "password = ''",
        "password = 'changeme'",
        "password = '<password>'",
        "password = '${PASSWORD}'",
        "password = getpass()",
        "api_key = 'your-key'",
        "password_file = '/etc/passwd'",
        "token_type = 'access_token'",
        "label.password = 'Enter your password'",
        "def f(n):\n    assert isinstance(n, int)\n    assert n is not None",
        "def f(n):\n    m = 1\n    assert m",
    ],
)
def test_code_that_only_looks_dangerous_is_left_alone(code: str) -> None:
    assert found(review_security(file_with(code))) == []


def test_a_shell_that_gets_a_constant_is_a_low_finding() -> None:
    code = "import subprocess\nsubprocess.run('ls', shell=True)"
    [finding] = review_security(file_with(code)).findings
    assert finding.severity is Severity.LOW


def test_findings_name_their_line_and_come_in_order() -> None:
    code = "import pickle\n\n\ndef f(data):\n    eval(data)\n    return pickle.loads(data)\n"
    assert found(review_security(file_with(code))) == [(5, "eval"), (6, "unsafe-load")]


def test_the_secret_itself_is_never_repeated() -> None:
    [finding] = review_security(file_with("password = 'hunter2!'")).findings
    assert "hunter2" not in finding.message


@pytest.mark.parametrize("path", ["tests/a.py", "pkg/test_a.py", "pkg/a_test.py", "conftest.py"])
def test_what_tests_do_is_for_information_and_they_may_assert(path: str) -> None:
    review = review_security(file_with("def f(n):\n    assert n\n    eval(n)\n", path))
    assert [(each.rule, each.severity) for each in review.findings] == [("eval", Severity.INFO)]
