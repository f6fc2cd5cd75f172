"""The site that ``./run_all.sh --site`` makes: all is in it, and every link leads somewhere.

It reads nothing from elsewhere, and a browser finds words in it, on a laptop and on a phone.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("websocket", reason="needs websocket-client, which comes with jupyter_server")
from browser import CHROMIUM, chromium

from birdnb.files import ROOT, BirdnbError
from birdnb.study import site
from birdnb.study.books import notebooks_dir

built = pytest.mark.skipif(
    not (site.SITE / "index.html").is_file(), reason="no site here: make it by ./run_all.sh --site"
)
LOADED = {"img": "src", "script": "src", "audio": "src", "source": "src", "iframe": "src"}


class Links(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loaded.append(given[LOADED[tag]])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "manifest"):
            self.loaded.append(given["href"])


def broken(pages: dict[Path, Links]) -> list[str]:
    """Links and loaded files of pages that lead to nothing that is there."""
    found = []
    for page, about in pages.items():
        for link in about.links + about.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = target.exists()
            if there and parts.fragment and target in pages:
                there = unquote(parts.fragment) in pages[target].places
            if not there:
                found.append(f"{page.name}: {link}")
    return found


@pytest.fixture(scope="module")
def pages() -> dict[Path, Links]:
    return {path: Links(path) for path in site.SITE.resolve().rglob("*.html")}


@built
def test_every_link_leads_somewhere(pages):
    assert len(pages) > 30 and sum(len(about.links) for about in pages.values()) > 1000
    assert broken(pages) == []


@built
def test_nothing_comes_from_elsewhere(pages):
    outside = [link for about in pages.values() for link in about.loaded
               if urlsplit(link).scheme not in ("", "data")]  # fmt: skip
    assert outside == []
    styles = [path.read_text(encoding="utf-8") for path in site.SITE.rglob("*.css")]
    assert not re.findall(r"url\(['\"]?https?:|@import ['\"]https?:", "".join(styles))


@built
def test_tables_of_reports_and_outputs_are_tables():
    """None is left as text with pipes, and what notebook 07 shows first is one."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in site.SITE.rglob("*.html")}
    assert [name for name, text in texts.items() if re.search(r"<p>\|[^<]*\|\s*:?[—-]", text)] == []
    assert re.search(r"<td[^>]*><p><strong>Ensemble", texts["07_phase3_results.html"])


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "a.html"
    page.write_text('<h1 id="x"></h1><a href="#x"></a><a href="#y"></a><img src="b.png">'
                    '<a href="a.html#x"></a><a href="c.html"></a>')  # fmt: skip
    assert broken({page: Links(page)}) == ["a.html: #y", "a.html: c.html", "a.html: b.png"]


def test_all_that_is_there_becomes_a_page(tmp_path, monkeypatch):
    """Every notebook, every report and every module with public names, each once."""
    report = tmp_path / "reports" / "my_birds-laptop"
    (report / "notebooks").mkdir(parents=True)
    (report / "PHASE3_RESULTS.md").write_text("# Results\n")
    (report / "notebooks" / "01.ipynb").write_text("{}")
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    source = tmp_path / "source"
    source.mkdir()
    site.lay_out(source)
    contents = (source / "index.md").read_text(encoding="utf-8")
    for book in notebooks_dir().glob("*.ipynb"):
        assert contents.count(f"\nnotebooks/{book.stem}\n") == 1
    assert contents.count("\nreports/my_birds-laptop/PHASE3_RESULTS\n") == 1
    assert not (source / "reports" / "my_birds-laptop" / "notebooks").exists()
    named = "\n".join(path.read_text(encoding="utf-8") for path in source.glob("reference/*.rst"))
    files = [path.relative_to(ROOT) for path in (ROOT / "birdnb").rglob("[!_]*.py")]
    assert len(files) > 100
    for file in files:
        module = re.escape(".".join(file.with_suffix("").parts))
        assert len(re.findall(rf"automodule:: {module}$", named, re.MULTILINE)) == 1


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "furo", None)
    with pytest.raises(BirdnbError, match=r"furo.*: pip install 'birdnb\[site\]'"):
        site.build()
    monkeypatch.undo()
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "none"))
    with pytest.raises(BirdnbError, match=r"no reports in .*none: run the study first"):
        site.lay_out(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser that reads the site as files, without a server."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install chromium to try the site in a browser")
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


def show(browser, page: str, width: int = 1366, height: int = 800) -> None:
    """Open a page of the site in a window of this size; a narrow one is a phone's."""
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
    browser.call("Page.navigate", url=(site.SITE.resolve() / page).as_uri())
    name = page.split("?")[0]
    browser.wait(f"document.readyState === 'complete' && location.href.includes('{name}')", page)


@built
def test_search_finds_words_of_chapters_and_of_the_reference(browser):
    for word, place in (("SpecAugment", "notebooks/03_"), ("open_corpus", "reference/corpora")):
        show(browser, "index.html")
        browser.evaluate(
            f"document.querySelector('.sidebar-search').value = '{word}',"
            "setTimeout(() => document.querySelector('.sidebar-search-container').submit())"
        )
        links = "[...document.querySelectorAll('#search-results .search a')].map(a => a.href)"
        browser.wait(f"{links}.some(link => link.includes('{place}'))", f"{word} to be found")


@built
@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize(
    "page",
    ["index.html", "notebooks/01_lms_pipeline.html", "notebooks/07_phase3_results.html",
     "reports/what_was_tried.html", "reports/example/PHASE3_RESULTS.html",
     "reference/corpora.html", "CONTRIBUTING.html"],
)  # fmt: skip
def test_pages_fit_their_window_and_show_their_pictures(browser, page, width):
    """Wide tables scroll by themselves: the page does not. No picture is missing."""
    show(browser, page, width)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.evaluate(wide) == 0
    browser.evaluate("document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    missing = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
    browser.wait(f"{missing}.length === 0", "all pictures")
    chapters = "[...document.querySelectorAll('.sidebar-tree a')].length"
    assert browser.evaluate(chapters) > 10
