"""The Python index and the model hub over HTTPS, with the settings of pip and uv.

The index is asked as PEP 503 and PEP 691 say (https://peps.python.org/pep-0691/). Which index,
which certificates and which proxy come from where pip and uv take them, so that a company's
mirror serves models as it serves packages.
"""

from __future__ import annotations

import configparser
import os
import re
import ssl
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urldefrag, urljoin, urlsplit, urlunsplit

from flock.engines.local.files import missing_extra

if TYPE_CHECKING:
    import httpx

    from flock.engines.local.catalogue import HubFile

PYPI: Final = "https://pypi.org/simple"
HUB: Final = "https://huggingface.co"
_JSON: Final = "application/vnd.pypi.simple.v1+json"
_ACCEPT: Final = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_TIMEOUT: Final = 30.0
_CONNECT_TIMEOUT: Final = 10.0
_BUNDLES: Final = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def client() -> httpx.Client:
    """Return an HTTP client that trusts what pip and uv trust, through the same proxies.

    Raises:
        DeclarationError: The extra is not installed.
    """
    try:
        import certifi
        import httpx
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    # The system's authorities (a company's among them), and the usual ones where it has none.
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(certifi.where())
    for name in _BUNDLES:
        if (bundle := os.environ.get(name)) and Path(bundle).is_file():
            trusted.load_verify_locations(bundle)
    timeout = httpx.Timeout(_TIMEOUT, connect=_CONNECT_TIMEOUT)
    return httpx.Client(verify=trusted, follow_redirects=True, timeout=timeout)


def hub_url(file: HubFile) -> str:
    """Return where the hub, or the mirror that `HF_ENDPOINT` names, has a file."""
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    return f"{hub}/{file.repository}/resolve/{file.revision}/{quote(file.file)}"


def redacted(url: str) -> str:
    """Return a URL without the credentials and the query it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file of the index.

    Attributes:
        name: Its file name.
        url: Where it is.
        sha256: Its checksum, where the index says it.
        size: Its bytes, where the index says them.
    """

    name: str
    url: str
    sha256: str | None
    size: int | None

    @property
    def host(self) -> str:
        """Where it comes from."""
        return urlsplit(self.url).hostname or ""


class PackageIndex:
    """The indexes that the user's pip or uv is set to, in order."""

    def __init__(self, http: httpx.Client, urls: Iterable[str] | None = None) -> None:
        self._http = http
        self._urls = list(index_urls() if urls is None else urls)

    def find(self, project: str, version: str) -> IndexFile | None:
        """Return a release's wheel for any platform from the first index that has it.

        Raises:
            httpx.HTTPError: No index has it, and one could not be asked.
        """
        import httpx

        failure: httpx.HTTPError | None = None
        for url in self._urls:
            page = f"{url.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/"
            try:
                response = self._http.get(page, headers={"Accept": _ACCEPT})
                if response.status_code == 404:
                    continue
                response.raise_for_status()
            except httpx.HTTPError as error:
                failure = failure or error
                continue
            try:
                files = list(_files(response))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                said = f"it answers with what is no page of an index: {error!r}"
                failure = failure or httpx.DecodingError(said, request=response.request)
                continue
            wanted = f"{re.sub(r'[-_.]+', '_', project).lower()}-{version}-py3-none-any.whl"
            for file in files:
                if file.name.lower() == wanted:
                    return file
        if failure is not None:
            raise failure
        return None


def index_urls() -> list[str]:
    """Return the package indexes to ask, in order: uv's, else pip's, else PyPI.

    The environment goes before files. Indexes that are no web address (folders) are left out.
    """
    found = [
        *_words(os.environ.get("UV_DEFAULT_INDEX")),
        *_words(os.environ.get("UV_INDEX_URL")),
        *_words(os.environ.get("PIP_INDEX_URL")),
        *_uv_settings(),
        *_pip_settings("index-url"),
    ][:1] or [PYPI]
    extra = [
        *_words(os.environ.get("UV_INDEX")),
        *_words(os.environ.get("UV_EXTRA_INDEX_URL")),
        *_words(os.environ.get("PIP_EXTRA_INDEX_URL")),
        *_pip_settings("extra-index-url"),
    ]
    named = [url.partition("=")[2] if re.match(r"[\w.-]+=", url) else url for url in found + extra]
    return list(dict.fromkeys(url for url in named if url.startswith(("https://", "http://"))))


def _words(value: str | None) -> list[str]:
    return (value or "").split()


def _pip_settings(key: str) -> Iterator[str]:
    """Read pip's configuration files, the nearest first.

    https://pip.pypa.io/en/stable/topics/configuration/#location
    """
    name = "pip.ini" if os.name == "nt" else "pip.conf"
    if (given := os.environ.get("PIP_CONFIG_FILE")) == os.devnull:
        return
    home = Path.home()
    files = [Path(given)] if given else []
    files.append(Path(sys.prefix) / name)
    if os.name == "nt":
        files += [Path(os.environ.get("APPDATA", home)) / "pip" / name, home / "pip" / name]
        files.append(Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "pip" / name)
    else:
        if sys.platform == "darwin":
            files.append(home / "Library/Application Support/pip" / name)
            files.append(Path("/Library/Application Support/pip") / name)
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        files += [config / "pip" / name, home / ".pip" / name]
        shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        files += [Path(folder) / "pip" / name for folder in shared.split(":")]
        files.append(Path("/etc") / name)
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("download", "install", "global"):
            yield from _words(parser.get(section, key, fallback=""))


def _uv_settings() -> Iterator[str]:
    """Read the default index of uv's configuration files, the nearest first."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    for file in (config / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        try:
            settings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for index in settings.get("index", []):
            if index.get("default") and "url" in index:
                yield str(index["url"])
        if "index-url" in settings:
            yield str(settings["index-url"])


def _files(response: httpx.Response) -> Iterator[IndexFile]:
    page = str(response.url)
    if response.headers.get("Content-Type", "").startswith(_JSON):
        for file in response.json().get("files", ()):
            sha256 = file.get("hashes", {}).get("sha256")
            url = urljoin(page, file["url"])
            yield IndexFile(file["filename"], url, sha256, file.get("size"))
        return
    links = _Links()
    links.feed(response.text)
    for name, href in links.found:
        url, fragment = urldefrag(urljoin(page, href))
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        yield IndexFile(name, url, sha256, None)


class _Links(HTMLParser):
    """The links of a page: their text and where they lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._href: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep where a link leads."""
        if tag == "a":
            self._href = dict(attrs).get("href")

    def handle_data(self, data: str) -> None:
        """Keep what a link says."""
        if self._href is not None and data.strip():
            self.found.append((data.strip(), self._href))
            self._href = None
