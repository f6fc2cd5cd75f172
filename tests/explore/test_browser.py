"""A person at JupyterLab runs a notebook, moves a slider and sees the picture change.

Then opens a committed notebook.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile

websocket = pytest.importorskip(
    "websocket", reason="needs websocket-client, which comes with jupyter_server"
)
from browser import CHROMIUM, chromium, jupyterlab  # noqa: E402  (needs websocket)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: install chromium to test the explorers in a browser"
)

ROOT = Path(__file__).resolve().parents[2]
RATE = 22050
CODE = """
from birdnb.data import open_study
from birdnb.explore.widgets import explore_augmentation
explore_augmentation(open_study("birds", progress=False))
"""
COMMANDS = "window.jupyterapp.commands"
BOOK = "window.jupyterapp.shell.currentWidget"  # the notebook in front
SLIDER = (
    f"[...{BOOK}.node.querySelectorAll('.widget-slider')].find(s => s.innerText.includes('lambda'))"
)
PICTURE, SOUND = (
    f"{BOOK}.node.querySelector('img.widget-image')",
    f"{BOOK}.node.querySelector('audio')",
)
ERRORS = (
    f"{BOOK}.content.model.toJSON().cells.flatMap(c => c.outputs ?? [])"
    f".filter(o => o.ename).map(o => o.evalue)"
)
RED = (
    f"[...{BOOK}.node.querySelectorAll('[data-mime-type*=error], [data-mime-type*=stderr]')]"
    f".map(e => e.innerText)"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab over a folder with a small corpus and a notebook that explores it.

    The committed notebooks are there, too.
    """
    root, folder = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("lab")
    t = np.arange(5 * RATE) / RATE
    for name, hertz in {"Parus major": 3000, "Turdus merula": 5500}.items():
        (root / "birds" / name).mkdir(parents=True)
        for i in range(4):
            rng = np.random.default_rng(i)
            song = 0.3 * np.sin(2 * np.pi * hertz * t) * (t < 2) * (
                t % 0.5 < 0.25
            ) + 0.003 * rng.normal(size=len(t))
            soundfile.write(root / "birds" / name / f"{name.split()[0]}{i}.wav", song, RATE)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    book.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(book, root / "explore.ipynb")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    with jupyterlab(folder, root, BIRDNB_ARTIFACTS=str(folder / "artifacts")) as address:
        yield address


@pytest.fixture(scope="module")
def page(tmp_path_factory, lab):
    """A browser with JupyterLab in it."""
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        page.call("Page.navigate", url=lab)
        page.wait(
            "window.jupyterapp?.restored.then(() => !document.querySelector('#jupyterlab-splash'))",
            "JupyterLab to start",
        )
        yield page


@pytest.fixture
def notebook(page):
    """A function that opens a notebook; it is closed, and its kernel ended, after the test."""

    def opened(path: str) -> None:
        page.evaluate(f"{COMMANDS}.execute('docmanager:open', {{path: '{path}'}}).then(() => true)")
        page.wait(
            f"{BOOK}?.context?.path === '{path}' && {BOOK}.context.isReady", f"{path} to open"
        )

    yield opened
    page.evaluate(f"{BOOK}.context.save().then(() => {{ {BOOK}.close(); return true }})")


def content(element: str) -> str:
    """JavaScript for the bytes of a picture or sound, null while they are being replaced."""
    return (
        f"fetch({element}.src).then(r => r.arrayBuffer())"
        f".then(b => new Uint8Array(b).join()).catch(() => null)"
    )


def test_a_moved_slider_changes_the_picture(page, notebook):
    notebook("explore.ipynb")
    page.wait(f"{BOOK}.sessionContext.session?.kernel?.status === 'idle'", "the kernel")
    page.evaluate(f"void {COMMANDS}.execute('notebook:run-all-cells')")
    page.wait(f"{PICTURE}?.naturalWidth > 300 || {ERRORS}.length", "the picture of the explorer")
    assert page.evaluate(ERRORS) == []
    assert "1.00" in page.evaluate(f"{SLIDER}.innerText")
    picture, sound = page.evaluate(content(PICTURE)), page.evaluate(content(SOUND))
    assert len(picture) > 10_000 and len(sound) > 10_000
    page.evaluate(f"{SLIDER}.querySelector('.noUi-handle').focus()")
    page.press("ArrowLeft")
    page.wait(f"{SLIDER}.innerText.includes('0.95')", "the slider to say 0.95")
    page.wait(
        f"{BOOK}.node.innerText.includes('95 % Parus major + 5 % Turdus merula')",
        "the label of the blend",
    )
    for element, before in ((PICTURE, picture), (SOUND, sound)):
        page.wait(
            f"{content(element)}.then(now => now && now !== {json.dumps(before)})",
            "another picture and sound",
        )
    assert page.evaluate(ERRORS) == []


@pytest.mark.parametrize("book", sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_a_committed_notebook_opens_whole(page, notebook, book):
    cells = json.loads((ROOT / "notebooks" / book).read_text(encoding="utf-8"))["cells"]
    pictures = sum(
        "image/png" in out.get("data", {}) for cell in cells for out in cell.get("outputs", [])
    )
    notebook(f"notebooks/{book}")
    assert page.evaluate(f"{BOOK}.content.widgets.length") == len(cells)
    title = page.wait(
        f"{BOOK}.node.querySelector('.jp-RenderedMarkdown h1')?.innerText", "the title"
    )
    assert title.startswith(book[:2])
    pictures_there = f"{BOOK}.node.querySelectorAll('.jp-OutputArea-output img')"
    shown = f"[...{pictures_there}].filter(i => i.naturalWidth > 0).length"
    page.wait(f"{shown} >= {pictures}", f"its {pictures} pictures")
    assert page.evaluate(RED) == []
