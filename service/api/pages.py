"""The timeline page: files of this package, as a browser asks for them (contract 3.8).

The page itself is asked for anew each time. Its files stand below a folder that is named after what is
in them, so that they are kept for ever, and changed ones are never mixed up with those that were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from service.api.answers import Answer

TIMELINE_PATH = "/timeline"
_INDEX = "index.html"
_FOLDER = files("service.api") / "timeline"
_CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Nothing but this package's files and the API beside them; what an activity says is never markup.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}
_ASKED_ANEW: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Pages:
    """`index` is the page, `contents` its files by name, `version` the name of their folder."""

    index: Answer
    contents: Mapping[str, bytes]
    version: str

    def find(self, path: str) -> Answer | None:
        """The page or the file at this path; None where it is another's.

        A file of another version is this version's: two processes may stand behind one address while
        a new version comes in, and each knows only its own.
        """
        if path.removesuffix("/") == TIMELINE_PATH:
            return self.index
        folder, _, name = path.rpartition("/")
        parent, _, version = folder.rpartition("/")
        if parent != TIMELINE_PATH or name not in self.contents:
            return None
        return _to_file(
            name, self.contents[name], _KEPT if version == self.version else _ASKED_ANEW
        )


def read_pages() -> Pages:
    """The files of this package. What a stranger may see of them holds no key and no activity."""
    contents = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if file.is_file()}
    index = contents.pop(_INDEX)
    digest = sha256(index)
    for name in sorted(contents):
        digest.update(name.encode() + contents[name])
    version = digest.hexdigest()[:16]
    page = index.replace(b"{files}", f"{TIMELINE_PATH}/{version}".encode())
    return Pages(_to_file(_INDEX, page, _ASKED_ANEW), contents, version)


def _to_file(name: str, content: bytes, caching: Mapping[str, str]) -> Answer:
    headers = {
        "Content-Type": _CONTENT_TYPES[name.rpartition(".")[2]],
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        **caching,
    }
    return Answer(content, headers=headers)
