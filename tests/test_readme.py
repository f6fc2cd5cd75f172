"""What README and CONTRIBUTING show is true: the examples run on a small study.

The troubleshooting quotes messages that exist, links lead somewhere, commands are understood.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_study import settings, small_study

from birdnb import corpora, data, registry
from birdnb.__main__ import COMMANDS
from birdnb.files import BirdnbError
from birdnb.split.sides import sessions
from birdnb.training.checkpoint import BEST
from birdnb.training.runs import load_model

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"<!-- test: (\S+) -->\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A function that runs an example of CONTRIBUTING on a small study.

    In a folder of its own; it gives the names that the example made.
    """
    registries = (registry.MODELS, registry.ENCODERS, registry.AUGMENTATIONS)
    before, layouts = [dict(entries) for entries in registries], list(corpora.LAYOUTS)
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.chdir(tmp_path)
    study = small_study()
    study.profile = replace(study.profile, runs={"phase3_ast_full": settings(epochs=6)})
    # the demo that the examples open takes minutes to learn
    monkeypatch.setattr(data, "open_study", lambda corpus: study)

    def run(name: str) -> dict:
        code = dict(EXAMPLE.findall(EXAMPLES))[name]
        assert len(code.splitlines()) <= 35, "an example has at most 35 lines"
        names: dict = {}
        exec(compile(code, f"CONTRIBUTING.md: {name}", "exec"), names)
        return names

    yield run
    for entries, known in zip(registries, before, strict=True):
        entries.clear()
        entries.update(known)
    corpora.LAYOUTS[:] = layouts


def test_add_a_model(example, capsys):
    names = example("add-a-model")
    result = names["result"]
    assert result.config["settings"]["model"]["name"] == "time_cnn"
    assert isinstance(load_model(result.folder), names["TimeCnn"])
    assert result.metrics["test"]["accuracy"] > 0.6  # three species
    assert capsys.readouterr().out.endswith("%\n")
    again = names["TimeCnn"](3, 40, pretrained=result.folder / BEST)
    torch.testing.assert_close(again.body[0].weight, load_model(result.folder).body[0].weight)
    with pytest.raises(BirdnbError, match="no weights at True"):
        names["TimeCnn"](3, 40, pretrained=True)


def test_add_an_encoder(example, capsys):
    encoder = example("add-an-encoder")["encoder"]
    assert capsys.readouterr().out == "(4, 75)\n"
    whistle = np.sin(2 * np.pi * 5000 * np.arange(3 * 22050) / 22050).astype(np.float32)
    assert encoder.embed(whistle)[0].argmax() == 5000 // 147  # bands of 147 Hz


def test_add_a_corpus(example, tmp_path):
    folder = tmp_path / "data" / "archive"
    folder.mkdir(parents=True)
    for name in ("a.wav", "b.wav", "c.wav", "not in the table.wav"):
        soundfile.write(folder / name, np.zeros(2205), 22050)
    rows = ["file\tlatin\tobserver\tday\tplace", "a.wav\tParus major\tA. Bird\t2020-05-01\tKew",
            "gone.wav\tParus major\t\t\t",
            "b.wav\tTurdus merula\tA. Bird\t2020-05-01\tKew",
            "c.wav\t\tA. Bird\t2020-05-01\tKew"]  # fmt: skip
    (folder / "recordings.tsv").write_text("\n".join(rows))
    corpus = example("add-a-corpus")["corpus"]
    assert corpus.layout == "our archive"
    assert corpus.manifest[["path", "species"]].values.tolist() == [
        ["a.wav", "Parus major"],
        ["b.wav", "Turdus merula"],
    ]
    assert sessions(corpus.manifest).nunique() == 1  # observer, day and place were understood
    assert set(corpus.left_out["path"]) == {"gone.wav", "c.wav", "not in the table.wav"}


def test_add_an_augmentation(example):
    names = example("add-an-augmentation")
    assert names["result"].config["settings"]["augment"]["extra"] == "shift_pitch"
    x = torch.arange(128.0)[None, :, None].expand(500, 128, 7)
    moved = x[:, 64, 0] - names["shift_pitch"](x, torch.Generator().manual_seed(0))[:, 64, 0]
    assert set(moved.tolist()) == set(range(-4, 5))


def test_every_example_has_a_test():
    assert {name for name, _ in EXAMPLE.findall(EXAMPLES)} == {
        "add-a-model",
        "add-an-encoder",
        "add-a-corpus",
        "add-an-augmentation",
    }


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) < 150
    first = next(i for i, line in enumerate(lines) if line.startswith("!["))
    assert "./run_all.sh" in "\n".join(lines[:first]) and first < 15


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.split("#")[0] for link in links if not link.startswith(("http", "#"))]
    assert [link for link in local if not (ROOT / link).exists()] == []


def commands() -> list[list[str]]:
    """The commands of the README that begin with birdnb, whole: code blocks and table cells."""
    text = README.split("## Troubleshooting")[0]
    found = re.findall(r"^(birdnb .*)$|`(birdnb [^`]*)`", text, re.MULTILINE)
    lines = [shlex.split(block or cell, comments=True) for block, cell in found]
    return [words for words in lines if len(words) > 2]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_understood(words):
    """Their own parsers read them; nothing is run."""
    package = COMMANDS[words[1]][0]
    parser = importlib.import_module(f"birdnb.{package}.__main__").make_parser()
    parser.parse_args([word for word in words[2:] if word != "..."])


def messages() -> list[str]:
    """What the first column of the troubleshooting table quotes."""
    table = README.split("## Troubleshooting")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


def texts() -> list[str]:
    """Every text in the sources, with ... for what is put in; and the lines of run_all.sh."""
    found = (ROOT / "run_all.sh").read_text(encoding="utf-8").splitlines()
    for path in (ROOT / "birdnb").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        part.value if isinstance(part, ast.Constant) else "..."
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_troubleshooting_quotes_messages_that_exist():
    sources = texts()
    quoted = messages()
    assert len(quoted) >= 10
    for message in quoted:
        parts = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
        pattern = re.compile(".*".join(parts), re.DOTALL)
        assert any(pattern.search(text) for text in sources), f"no message says {message!r}"
