"""Pages for people: the timeline (contract 3.8) and the reference, as a browser asks for them.

A page itself is asked for anew each time. Its files stand below a folder that is named after what is
in them, so that they are kept for ever, and changed ones are never mixed up with those that were.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from swagger_ui_bundle import swagger_ui_path

from service.api.answers import Answer

TIMELINE_PATH = "/timeline"
REFERENCE_PATH = "/docs"
_INDEX = "index.html"
_CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
}
# Nothing but this package's files and the API beside them.
_OWN_FILES = (
    "default-src 'none'",
    "script-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
# What an activity says is never markup.
_TIMELINE_POLICY = (
    *_OWN_FILES,
    "style-src 'self'",
    "img-src 'self'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
# Swagger UI draws its icons from its style sheet.
_REFERENCE_POLICY = (*_OWN_FILES, "style-src 'self'", "img-src 'self' data:")
_SWAGGER_UI = ("favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css")
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}
_ASKED_ANEW: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Page:
    """`index` is what is shown at `path`, `contents` its files by name, `version` the name of their
    folder, `policy` what a browser lets them do."""

    path: str
    index: bytes
    contents: Mapping[str, bytes]
    version: str
    policy: str

    def find(self, path: str) -> Answer | None:
        """The page or the file at this path; None where it is another's.

        A file of another version is this version's: two processes may stand behind one address while
        a new version comes in, and each knows only its own.
        """
        if not path.startswith(self.path):
            return None
        if path.removesuffix("/") == self.path:
            return self._to_file(_INDEX, self.index, _ASKED_ANEW)
        folder, _, name = path.rpartition("/")
        parent, _, version = folder.rpartition("/")
        if parent != self.path or name not in self.contents:
            return None
        caching = _KEPT if version == self.version else _ASKED_ANEW
        return self._to_file(name, self.contents[name], caching)

    def _to_file(self, name: str, content: bytes, caching: Mapping[str, str]) -> Answer:
        headers = {
            "Content-Type": _CONTENT_TYPES[name.rpartition(".")[2]],
            "Content-Security-Policy": self.policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            **caching,
        }
        return Answer(content, headers=headers)


def read_timeline() -> Page:
    """The files of this package. What a stranger may see of them holds no key and no activity."""
    return _read(TIMELINE_PATH, _files_of("timeline"), _TIMELINE_POLICY)


def read_reference() -> Page:
    """Swagger UI from the package that carries it, and what shows it our document."""
    swagger_ui = [Path(swagger_ui_path) / name for name in _SWAGGER_UI]
    return _read(REFERENCE_PATH, [*_files_of("reference"), *swagger_ui], _REFERENCE_POLICY)


def _files_of(folder: str) -> list[Traversable]:
    return [file for file in (files("service.api") / folder).iterdir() if file.is_file()]


def _read(path: str, found: Iterable[Traversable], policy: Iterable[str]) -> Page:
    contents = {file.name: file.read_bytes() for file in found}
    index = contents.pop(_INDEX)
    digest = sha256(index)
    for name in sorted(contents):
        digest.update(name.encode() + contents[name])
    version = digest.hexdigest()[:16]
    page = index.replace(b"{files}", f"{path}/{version}".encode())
    return Page(path, page, contents, version, "; ".join(policy))
