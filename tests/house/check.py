"""The house check: rules of the repository that no linter knows.

    python -m tests.house.check

It prints one line an offence, `file:line: what is wrong: what to do`, and ends with status 1 if there is any.

- `code.py`: no class name twice, no public name that only tests use;
- `settings.py`: no setting that nothing reads;
- `layout.py`: flows only at the top of `flows/`, only stages and `config.py` at the top of `tasks/`;
- `pages.py`, `commands.py`: a short README, relative links that resolve, commands that parse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.house.code import duplicate_classes, unused_names
from tests.house.commands import wrong_commands
from tests.house.layout import misplaced_files
from tests.house.pages import broken_links, long_readme
from tests.house.settings import unread_settings
from tests.house.source import Offence, read_pages, read_sources

ROOT = Path(__file__).parents[2]


def offences(root: Path = ROOT) -> Iterator[Offence]:
    """All offences of the repository at `root`, rule by rule."""
    sources, pages = read_sources(root), read_pages(root)
    yield from duplicate_classes(sources)
    yield from unread_settings(sources)
    yield from unused_names(sources, root)
    yield from misplaced_files(sources)
    yield from long_readme(pages)
    yield from broken_links(pages, root)
    yield from wrong_commands(pages, root)


def main() -> int:
    """Print the offences and their number; the exit status."""
    found = list(offences())
    for offence in found:
        print(offence)
    print(f"house check: offences: {len(found)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
