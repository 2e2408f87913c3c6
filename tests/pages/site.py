"""A built site as a browser would read it: its pages, their links, and what they load."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes by which an element loads something, whoever reads the page.
_LOADS = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("img", "src"), ("img", "srcset"),
    ("link", "href"), ("object", "data"), ("script", "src"), ("source", "src"), ("video", "src"),
}  # fmt: skip
#: Of `<link>`: what a page belongs to, which no browser loads.
_NOT_LOADED = {"author", "canonical", "contents", "copyright", "index", "next", "prev", "search"}
_IN_STYLE = re.compile(r"url\(\s*['\"]?([^)'\"]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """One page of HTML.

    Attributes:
        anchors: What a link to the page may name behind `#`.
        links: The addresses of its `<a>`.
        loaded: The addresses of pictures, scripts and so on.
        text: What it says, in one line.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self._said: list[str] = []
        self._unseen = 0
        self.feed(text)
        self.text = " ".join(" ".join(self._said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._unseen += tag in ("script", "style")
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        is_relation = tag == "link" and set(values.get("rel", "").split()) & _NOT_LOADED
        if not is_relation:
            self.loaded += [values[name] for name in values if (tag, name) in _LOADS]
        self.loaded += _loaded_by_style(values.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._said.append(data)


def _loaded_by_style(text: str) -> list[str]:
    return [found[1] or found[2] for found in _IN_STYLE.finditer(text)]


class Site:
    """The pages in a folder.

    Args:
        folder: Where it was built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = sorted(folder.rglob("*.html"))
        #: By path within the folder.
        self.pages = {
            path.relative_to(folder).as_posix(): Page(path.read_text(encoding="utf-8"))
            for path in paths
        }

    def target(self, page: str, address: str) -> tuple[str, str]:
        """The file and the anchor that an address on a page means; ("", "") outside the site."""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return "", ""
        path = (
            (self.folder / page).parent / unquote(parts.path) if parts.path else self.folder / page
        )
        return _within(path, self.folder), unquote(parts.fragment)

    def broken_links(self) -> list[str]:
        """Links to a file or an anchor that is not there."""
        broken = []
        for name, page in self.pages.items():
            for address in page.links:
                path, anchor = self.target(name, address)
                if not path:
                    continue
                is_there = (self.folder / path).is_file()
                if is_there and anchor and path in self.pages:
                    is_there = anchor in self.pages[path].anchors
                if not is_there:
                    broken.append(f"{name}: {address}")
        return broken

    def foreign(self) -> list[str]:
        """What a page or a style sheet loads from elsewhere, or from nowhere."""
        found = []
        for name, page in self.pages.items():
            found += self._not_here(name, page.loaded)
        for sheet in sorted(self.folder.rglob("*.css")):
            loaded = _loaded_by_style(sheet.read_text(encoding="utf-8"))
            found += self._not_here(sheet.relative_to(self.folder).as_posix(), loaded)
        return found

    def _not_here(self, name: str, addresses: list[str]) -> list[str]:
        missing = []
        for address in addresses:
            path, _ = self.target(name, address)
            is_inline = address.startswith(("data:", "#"))
            if not is_inline and not (path and (self.folder / path).is_file()):
                missing.append(f"{name}: {address}")
        return missing


def _within(path: Path, folder: Path) -> str:
    """A path as seen from a folder, whether it is there or not."""
    found = Path(str(path)).resolve()
    try:
        return found.relative_to(folder.resolve()).as_posix()
    except ValueError:
        return f"outside: {found}"
