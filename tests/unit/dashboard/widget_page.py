"""What CloudWatch makes of a widget's HTML: its text, its tables, its fields, and what a click on each element does."""

import json
from html.parser import HTMLParser
from typing import Any, NamedTuple

VOID = {"br", "input", "meta", "img"}
UNCLOSED = {"li", "td", "th", "tr", "thead", "tbody", "p"}  # HTML closes them by itself
DRAWN = {"svg", "title", "desc", "text", "line", "rect"}
ALLOWED = DRAWN | {"style", "div", "h2", "h3", "p", "b", "br", "ul", "li", "code", "pre", "form", "label", "input", "a"}
ALLOWED |= {"table", "thead", "tbody", "tr", "th", "td", "span", "cwdb-action"}


class Click(NamedTuple):
    """An element with an action: its text, the action's attributes, and the event that is sent."""

    text: str
    action: dict[str, str | None]
    event: dict[str, Any]


class WidgetPage(HTMLParser):
    """A widget as read. Fails for what CloudWatch would take out, and for elements that aren't nested rightly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.clicks: list[Click] = []
        self.texts: dict[str, list[str]] = {}
        self.visible = ""
        self._open: list[str] = []
        self._last: tuple[str, str] = ("", "")  # the element that was closed last, and its text
        self._said: list[str] = []
        self.feed(html)
        self.close()
        assert [tag for tag in self._open if tag not in UNCLOSED] == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element; nothing that could run, or load anything, is let through."""
        assert tag in ALLOWED, tag
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")], attrs
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")
        if tag == "cwdb-action":
            assert self._last[0] == "a", "an action belongs to the element right before it"
        if tag not in VOID:
            self._open.append(tag)
            self._said.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Shapes close themselves."""
        assert tag in DRAWN, tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element, and those in it that HTML closes by itself."""
        while self._open[-1] != tag:
            left = self._open.pop()
            self._said.pop()
            assert left in UNCLOSED, f"</{tag}> closes <{left}>"
        self._open.pop()
        said = self._said.pop()
        self.texts.setdefault(tag, []).append(said)
        if tag == "cwdb-action":
            attributes = next(attributes for name, attributes in reversed(self.elements) if name == tag)
            self.clicks.append(Click(self._last[1], attributes, json.loads(said)))
        self._last = (tag, said)

    def handle_data(self, data: str) -> None:
        """Note the text for the element that it is in, and what is to be seen of it."""
        if self._said:
            self._said[-1] += data
        if data.strip():
            self._last = self._last if self._open and self._open[-1] == "cwdb-action" else ("", "")
        if not {"style", "cwdb-action", "svg"} & set(self._open):
            self.visible += data
            if self.cells and {"th", "td"} & set(self._open[-3:]):
                self.cells[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The one row whose first cell begins so, white space put in order."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.cells]
        (found,) = [row for row in rows if row[0].startswith(first)]
        return found

    def names(self) -> list[str]:
        """The first cell of every row."""
        return [" ".join(row[0].split()) for row in self.cells if row]

    def says(self, text: str) -> bool:
        """Whether a reader finds this, white space put in order."""
        return text in " ".join(self.visible.split())
