"""Build static pages from what is there: chapters, appendices, reports, the reference, the README.

Sphinx and MyST-NB do the work; this module lays their sources out as they lie in the repository,
so that every link between them holds on a code host and on the site.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from birdnb.files import ROOT, BirdnbError, reports_dir
from birdnb.study.books import notebooks_dir

SITE = ROOT / "site"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FILES = ("LICENSE", "CITATION.cff", "environment.yml", "run_all.sh")  # that pages link to
NEEDED = ("sphinx", "myst_nb", "furo")
FIGURES = shutil.ignore_patterns("notebooks", "logs", "*.html", ".tmp-*")


def build(folder: Path = SITE) -> int:
    """Build the site and return the status of Sphinx. Raises BirdnbError: not installed."""
    if missing := [name for name in NEEDED if not importlib.util.find_spec(name)]:
        raise BirdnbError(
            f"the site needs {', '.join(missing)}: pip install 'birdnb[site]', or let "
            f"./run_all.sh --site do it"
        )
    with tempfile.TemporaryDirectory(prefix="birdnb-site-") as scratch:
        source = Path(scratch)
        lay_out(source)
        words = ["-b", "html", "-j", "auto", "-q", "-c", "docs", "-d", "doctrees", ".", "html"]
        status = subprocess.call([sys.executable, "-m", "sphinx", *words], cwd=source)
        if status == 0:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source / "html", folder)
            print(f"{folder / 'index.html'}")
    return status


def lay_out(source: Path) -> None:
    """Copy what becomes pages into a folder, and write the table of contents and the reference."""
    for name in (*PAGES, *FILES):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.copytree(notebooks_dir(), source / "notebooks", ignore=shutil.ignore_patterns(".*"))
    if not reports_dir().is_dir():
        raise BirdnbError(f"no reports in {reports_dir()}: run the study first")
    shutil.copytree(reports_dir(), source / "reports", ignore=FIGURES)
    for folder in ("weights", "profiles"):
        kinds = shutil.ignore_patterns("*.safetensors", "*.py", "__pycache__")
        shutil.copytree(ROOT / "birdnb" / folder, source / "birdnb" / folder, ignore=kinds)
    write_reference(source / "reference")
    books = [f"notebooks/{book.stem}" for book in sorted(notebooks_dir().glob("*.ipynb"))]
    study = [book for book in books if book.removeprefix("notebooks/")[0].isdigit()]
    parts = {
        "The study": study,
        "Appendices": [book for book in books if book not in study],
        "Reports": _pages(source, "reports"),
        "Carrying on": ["CONTRIBUTING", "CHANGELOG", "reference/index"],
        "Weights": _pages(source, "birdnb/weights"),
    }
    contents = "\n\n".join(
        _toctree([":hidden:", f":caption: {title}"], pages)
        for title, pages in parts.items()
        if pages
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(f"{readme}\n{contents}\n", encoding="utf-8")


def write_reference(folder: Path) -> None:
    """Write a page for each room of the house: its modules' public names by their docstrings."""
    folder.mkdir()
    package = ROOT / "birdnb"
    rooms: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] != "__main__" and parts != ("__init__",):
            module = ".".join(part for part in parts if part != "__init__")
            rooms.setdefault(parts[0], []).append(f"birdnb.{module}")
    for room, modules in rooms.items():
        text = [_heading(f"birdnb.{room}", "=")]
        for module in modules:
            text += [_heading(module, "-")] if len(modules) > 1 and module != modules[0] else []
            text += [f".. automodule:: {module}", ""]
        (folder / f"{room}.rst").write_text("\n".join(text), encoding="utf-8")
    contents = _toctree([":maxdepth: 1"], list(rooms))
    page = f"# Reference\n\nPublic names, by their docstrings.\n\n{contents}\n"
    (folder / "index.md").write_text(page, encoding="utf-8")


def _pages(source: Path, folder: str) -> list[str]:
    """Name the Markdown pages below a folder, those of the folder itself first."""
    found = sorted((source / folder).rglob("*.md"), key=lambda path: (len(path.parts), path))
    return [path.relative_to(source).with_suffix("").as_posix() for path in found]


def _toctree(options: list[str], pages: list[str]) -> str:
    return "\n".join(["```{toctree}", *options, "", *pages, "```"])


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"
