"""Hooks of the documentation site: pages that lie outside docs/, and the links to them.

README.md is the site's first page; CHANGELOG.md, CONTRIBUTING.md and benchmarks/README.md are pages, too. In the
repository they link to one another by their paths, and here by the names of their pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_files(files: Any, config: Any) -> Any:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links between files of the repository into links between pages."""
    own = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(own, f"docs/{own}"))

    def relinked(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[2]))
        to = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if to is None:
            return found[0]
        return f"{found[1]}{posixpath.relpath(to, posixpath.dirname(own) or '.')}{found[3]}"

    return LINK.sub(relinked, markdown)
