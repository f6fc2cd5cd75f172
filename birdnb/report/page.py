"""Turn the report's Markdown into an HTML page that stands alone."""

import base64
import re
from pathlib import Path
from typing import Any

import mistune
from mistune.util import striptags

HERE = Path(__file__).parent
UNITS = re.compile(r"(\d) (%|points\b|epochs\b)")  # a number and its unit stay in one line
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
<nav>{links}</nav>

{body}
</body>
</html>
"""


def style() -> str:
    """Return the style sheet that all pages share."""
    return (HERE / "report.css").read_text(encoding="utf-8")


def data_url(kind: str, data: bytes) -> str:
    """Return a picture or sound as an address that holds it itself; ``kind`` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def page(text: str, folder: Path, synthetic: bool = False) -> str:
    """Render Markdown as a page that stands alone; ``synthetic`` sets off the first paragraph."""
    renderer = PageRenderer(folder, synthetic)
    body = str(mistune.create_markdown(renderer=renderer, plugins=["table"])(text))
    links = [f'<a href="#s{i}">{section}</a>' for i, section in enumerate(renderer.sections)]
    return PAGE.format(
        name=striptags(renderer.title), title=renderer.title, style=style(), links=" ".join(links),
        body=body,
    )  # fmt: skip


class PageRenderer(mistune.HTMLRenderer):
    """Render figures into the page, tables that scroll, and sections that can be linked to."""

    def __init__(self, folder: Path, synthetic: bool) -> None:
        super().__init__(escape=True)
        self.folder = folder
        self.banner = synthetic  # the next paragraph is set off
        self.title = ""
        self.sections: list[str] = []

    def text(self, text: str) -> str:
        """Keep numbers and their units together."""
        return UNITS.sub(r"\1&nbsp;\2", super().text(text))

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        """Set the title aside, and give each section an anchor."""
        if level == 1:
            self.title = text
            return ""
        if level == 2:
            attributes["id"] = f"s{len(self.sections)}"
            self.sections.append(text)
        return super().heading(text, level, **attributes)

    def paragraph(self, text: str) -> str:
        """Set off the banner, and let a figure stand alone."""
        if re.fullmatch(r"<img [^>]*>", text):
            return f"<figure>{text}</figure>\n"
        if self.banner:
            self.banner = False
            return f'<p class="synthetic">{text}</p>\n'
        return super().paragraph(text)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Put the picture itself into the page."""
        return super().image(text, data_url("image/png", (self.folder / url).read_bytes()), title)

    def table(self, text: str) -> str:
        """Let wide tables scroll."""
        return f'<div class="table"><table>\n{text}</table></div>\n'
