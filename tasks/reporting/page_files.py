"""A page as its parts, and its two packings: a folder, or one HTML file.

The parts are the same in both: an HTML shell, a style sheet, scripts, JSON documents and pictures. A folder is for
large pages: a browser reads the documents and pictures that it shows. It opens from a disk as well as from a server, so
the documents are scripts that hand over their JSON (a browser reads no JSON from a disk). One file is for mail.

A model wrote the texts, and pictures come from anywhere. No text becomes HTML: scripts set it as text. The policy
forbids all other scripts, styles and addresses: those of the folder are allowed by their place, those in the one file
by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
STYLE = "page.css"
FOLDER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""The policy of a page in a folder, also where a server sends it as a header."""


@dataclass(frozen=True)
class PageFiles:
    """The parts of a page."""

    title: str
    kind: str
    """What the page is: `round`, `run` or `runs`; scripts read it from the shell."""
    scripts: tuple[str, ...]
    """Names in `assets`, in order."""
    first: tuple[str, ...]
    """Names of the documents that the page reads at once, in order; others are read when they are shown."""
    documents: Mapping[str, Any] = field(repr=False)
    """JSON documents by name."""
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """WebP files by name."""


def files_of(page: PageFiles) -> Iterator[tuple[str, bytes]]:
    """The files of the folder by name, `index.html` first."""
    scripts = [*page.scripts, *(f"data/{name}.js" for name in page.first)]
    policy = _policy(FOLDER_POLICY)
    yield "index.html", _shell(page, policy, _linked(STYLE), [_deferred(name) for name in scripts]).encode()
    for name in (STYLE, *page.scripts):
        yield name, (ASSETS / name).read_bytes()
    for name, document in page.documents.items():
        yield f"data/{name}.js", document_script(name, document)
    yield from page.pictures.items()


def write_folder(page: PageFiles, folder: Path) -> None:
    """Write the page into a folder, which is made if it is missing."""
    for name, data in files_of(page):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def one_file(page: PageFiles) -> str:
    """The page as one HTML file, with its pictures as `data:` URLs."""
    style = (ASSETS / STYLE).read_text()
    scripts = [(ASSETS / name).read_text() for name in page.scripts]
    pictures = {name: base64.b64encode(data).decode() for name, data in page.pictures.items()}
    inside = {name: f"data:image/webp;base64,{text}" for name, text in pictures.items()}
    documents = {"pictures-inside": inside, **page.documents}
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_digest, scripts))}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    blocks = [_json_block(name, document) for name, document in documents.items()]
    code = [f"<script>{script}</script>" for script in scripts]
    return _shell(page, _policy(policy), f"<style>{style}</style>", [], [*blocks, *code])


def marked(shell: bytes, marks: Mapping[str, str]) -> bytes:
    """The shell of a page with marks that its scripts read: `up` and `up-name`, the page above it; `live`, where a
    round in progress tells its state; `originals`, where original pictures are."""
    written = "".join(f' data-{name}="{html.escape(value)}"' for name, value in marks.items())
    return shell.replace(b"<body ", f"<body{written} ".encode(), 1)


def document_in(script: bytes) -> Any:
    """The document that a script of `document_script` hands over."""
    return json.loads(script[script.index(b", ") + 2 : script.rindex(b");")])


def document_script(name: str, document: object) -> bytes:
    """A document as a script that hands it over."""
    return f"ActiveZero.give({json.dumps(name)}, {_json(document)});\n".encode("utf-8", "surrogatepass")


def _json(document: object) -> str:
    """JSON that is a JavaScript literal too, and cannot end a script or a comment of HTML."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _json_block(name: str, document: object) -> str:
    return f'<script type="application/json" id="data-{name}">{_json(document)}</script>'


def _shell(page: PageFiles, policy: str, style: str, head: list[str], body: list[str] | None = None) -> str:
    title = html.escape(page.title)
    first = " ".join(page.first)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            policy,
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            '<link rel="icon" href="data:,">',
            style,
            *head,
            "</head>",
            f'<body data-page="{page.kind}" data-first="{first}">',
            f"<header><h1>{title}</h1></header>",
            '<main id="main"></main>',
            "<noscript>This page needs scripts. Its rows are Parquet files in the store.</noscript>",
            *(body or []),
            "</body>",
            "</html>",
            "",
        ]
    )


def _policy(policy: str) -> str:
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">'


def _linked(name: str) -> str:
    return f'<link rel="stylesheet" href="{name}">'


def _deferred(name: str) -> str:
    return f'<script defer src="{name}"></script>'


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
