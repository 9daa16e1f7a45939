#!/usr/bin/env python3
"""Checks that no link of the built site, or of Markdown files beside it, is dead.

    scripts/site/links.py SITE [FILE.md ...]

Links within the site have to lead to a file of it, and to an element of that name in it; those of a Markdown
file to a file of the repository. Links to other hosts are listed, not followed: tests need no network.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The names in a page, and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        self.names.update(v for v in (found.get("id"), found.get("name")) if v)
        target = found.get("href") if tag in ("a", "link") else found.get("src")
        if target:
            self.links.append(target)


def dead_links(site: Path) -> tuple[list[str], set[str]]:
    """What leads nowhere, and the hosts that are linked to."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    dead, hosts = [], set()
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                hosts.add(parts.netloc)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            where = pages.get(target)
            # mdBook's page for errors names its files from the site's root.
            if path.name in ("404.html", "print.html"):
                continue
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {link}: there is no such file")
            elif parts.fragment and where and unquote(parts.fragment) not in where.names:
                dead.append(f"{path.relative_to(site)}: {link}: there is no such place in it")
    return dead, hosts


def dead_in_markdown(path: Path) -> list[str]:
    """Links of a Markdown file to files that are not there."""
    dead = []
    for link in re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8")):
        if not urlsplit(link).scheme and not (path.parent / link).exists():
            dead.append(f"{path}: {link}: there is no such file")
    return dead


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    site, *files = (Path(argument) for argument in sys.argv[1:])
    dead, hosts = dead_links(site.resolve())
    for path in files:
        dead += dead_in_markdown(path)
    for line in dead:
        print(line, file=sys.stderr)
    pages = len(list(site.rglob("*.html")))
    print(f"{pages} pages, {len(dead)} dead links; links to other hosts: {', '.join(sorted(hosts)) or 'none'}")
    return 1 if dead or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
