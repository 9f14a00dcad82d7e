from __future__ import annotations

import json
import re
from pathlib import Path

from tasks.reporting.page_files import PageFiles, document_script, one_file, write_folder

HOSTILE = '</script><script>alert(1)</script><!-- \u2028 \u202e \x1b[31m \ud800 "quoted" \\'


def page(text: str) -> PageFiles:
    return PageFiles(
        title=text, kind="round", scripts=("page.js",), first=("round",), documents={"round": {"text": text}},
        pictures={"pictures/000.webp": b"webp"},
    )  # fmt: skip


def test_no_text_ends_the_script_or_the_block_that_holds_it() -> None:
    script, written = document_script("round", {"text": HOSTILE}).decode(), one_file(page(HOSTILE))
    assert "<" not in script and "\u2028" not in script
    (block,) = re.findall(r'<script type="application/json" id="data-round">(.*?)</script>', written)
    assert json.loads(block) == {"text": HOSTILE}
    assert "<script>alert" not in written


def test_a_folder_names_only_its_own_files(tmp_path: Path) -> None:
    write_folder(page("t & <t>"), tmp_path)
    shell = (tmp_path / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]*)"', shell)
    assert named == ["data:,", "page.css", "page.js", "data/round.js"]
    assert all((tmp_path / name).is_file() for name in named[1:])
    assert "<title>t &amp; &lt;t&gt;</title>" in shell
    assert "default-src 'none'; script-src 'self'" in shell and "unsafe" not in shell


def test_one_file_names_no_other_file() -> None:
    written = one_file(page("t"))
    assert re.findall(r'(?:src|href)="([^"]*)"', written.split("<main")[0]) == ["data:,"]
    assert "unsafe-inline" not in written and "data:image/webp;base64,d2VicA==" in written
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/=]{44}'", written)) == 2
