"""Run the study: the notebooks in order, by papermill. What run_all.sh hands over to once the
environment stands.

Only the standard library is imported at the top, so that ``--help`` and a mistyped option answer at
once.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from birdnb.command import command
from birdnb.files import ROOT, BirdnbError, artifacts_dir, reports_dir, safe_name, write_text
from birdnb.study.execution import execute, tidy

NOTEBOOKS = ROOT / "notebooks"
TRAINED = {  # the runs that a notebook writes
    "04": ("classical_mfcc", "phase2_mfcc", "phase3_ast_baseline"),
    "05": ("phase3_ast_full",),
    "06": ("phase3_efficientnet_full", "phase3_ensemble"),
}
EXAMPLES = """examples:
  ./run_all.sh                                         the demo study on the laptop profile
  ./run_all.sh --corpus data/xeno_canto --profile gpu  your own recordings, on a GPU
  ./run_all.sh --folds 4 --corpus data/my_birds        a small corpus: four grouped folds instead of one split
  ./run_all.sh --only 04 -- -p epochs 30               one notebook, with papermill parameters
  ./run_all.sh --setup                                 only prepare the environment
"""


@command("stopped. What is finished is kept: the same command goes on from there.")
def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, do what it asks, return the exit status (0 done, 1 a notebook failed,
    2 a wrong argument).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    words, extra = (
        (words[: words.index("--")], words[words.index("--") + 1 :])
        if "--" in words
        else (words, [])
    )
    parser = _parser()
    options, unknown = parser.parse_known_args(words)
    if unknown:
        asked = {"-p", "--parameters"} & set(unknown)
        remedy = (
            "; notebook parameters come after --, as in: ./run_all.sh -- -p epochs 30"
            if asked
            else ""
        )
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{remedy}")
    _refuse_what_is_ignored(parser, options, extra)
    for name in ("BIRDNB_ARTIFACTS", "BIRDNB_REPORTS"):  # notebooks run in their own folder
        os.environ |= (
            {name: str(Path(os.environ[name]).expanduser().resolve())}
            if os.environ.get(name)
            else {}
        )
    books = select(options.only)
    if options.list:
        print("\n".join(f"{book.stem[:2]}  {book.stem[3:]:<22}{title(book)}" for book in books))
        return 0
    if options.setup:
        print("The environment stands.")
        return 0
    if options.lab:
        return subprocess.call([sys.executable, "-m", "jupyter", "lab", str(NOTEBOOKS)], cwd=ROOT)
    if options.test:
        return test(books, units=not options.only)
    if options.bless:
        return bless(books)
    os.environ |= (
        {"BIRDNB_DASK": options.dask} if options.dask else {}
    )  # read in features/workers.py
    parameters = {"corpus": corpus_argument(options.corpus),
                  "profile": profile_argument(options.profile),
                  "seed": options.seed, "folds": options.folds}  # fmt: skip
    return run(books, parameters, papermill_parameters(extra), again=options.again)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_all.sh", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run the bird-song study: seven notebooks, from recordings to a report.",
    )  # fmt: skip
    parser.add_argument(
        "--corpus",
        default="demo",
        help="demo (synthesised songs, the default) or a folder of recordings",
    )
    parser.add_argument(
        "--profile", default="laptop", help="laptop (the default), gpu, or a YAML file of your own"
    )
    parser.add_argument(
        "--seed", type=int, default=7, help="seed of the split and of every training (default 7)"
    )
    parser.add_argument(
        "--folds",
        type=_folds,
        default=0,
        metavar="K",
        help="grouped K-fold cross-validation instead of one split",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NN", help="only these notebooks, by number: --only 01 04"
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="compute spectrograms on a Dask cluster: --dask tcp://host:8786",
    )
    parser.add_argument(
        "--again", action="store_true", help="execute notebooks even when they are up to date"
    )
    parser.add_argument(
        "--setup", action="store_true", help="only prepare the environment (run_all.sh does that)"
    )
    parser.add_argument("--lab", action="store_true", help="open JupyterLab on the notebooks")
    parser.add_argument("--test", action="store_true",
                        help="run the unit tests, then compare the notebooks by nbval; with --only just those")  # fmt: skip
    parser.add_argument(
        "--bless",
        action="store_true",
        help="execute the committed notebooks anew and rewrite their outputs",
    )
    parser.add_argument("--list", action="store_true", help="list the notebooks and stop")
    return parser


def _refuse_what_is_ignored(
    parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]
) -> None:
    """Stop with an error for a seed below 0, and for options that another one would leave without
    effect.
    """
    if options.seed < 0:
        parser.error(f"argument --seed: {options.seed} is no seed: give 0 or more")
    alone = next(
        (name for name in ("setup", "lab", "test", "bless", "list") if getattr(options, name)), None
    )
    changed = [name for name in ("corpus", "profile", "seed", "folds", "dask", "again")
               if getattr(options, name) != parser.get_default(name)]  # fmt: skip
    if alone and (changed or extra):
        parser.error(
            f"--{alone} takes no {'--' + changed[0] if changed else 'notebook parameters'}"
        )
    fixed = sorted({"corpus", "profile", "seed", "folds"} & set(extra[1::3]))
    if fixed:
        parser.error(f"-p {fixed[0]}: give --{fixed[0]} instead, before the --")


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) == 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of folds: give 0 for one split, or 2 or more"
        )
    return int(text)


def select(only: list[str] | None) -> list[Path]:
    """The notebooks in order, or those whose number is asked for. Raises BirdnbError for a number
    that is not there.
    """
    books = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not only:
        return books
    wanted = {name[:2].zfill(2) if name[:2].isdigit() else name.zfill(2) for name in only}
    known = {book.stem[:2] for book in books}
    if wanted - known:
        raise BirdnbError(
            f"no notebook {sorted(wanted - known)[0]}: choose from {', '.join(sorted(known))}"
        )
    return [book for book in books if book.stem[:2] in wanted]


def title(book: Path) -> str:
    """The question a notebook answers: the first line of text under its heading."""
    cell = "".join(json.loads(book.read_text(encoding="utf-8"))["cells"][0]["source"])
    lines = [
        line.strip(" *_") for line in cell.splitlines() if line.strip() and not line.startswith("#")
    ]
    return lines[0] if lines else ""


def corpus_argument(text: str) -> str:
    """``demo`` as it is, a folder as an absolute path. Raises BirdnbError for a folder that is not
    there or not a corpus.
    """
    if text == "demo":
        return text
    from birdnb.corpora import open_corpus
    from birdnb.corpora.table import is_utf8

    if not is_utf8(text):
        raise BirdnbError(
            f"the name of the corpus folder is not UTF-8 ({os.fsencode(text)!r}): rename it"
        )
    open_corpus(text, progress=False)
    return str(Path(text).expanduser().resolve())


def profile_argument(text: str) -> str:
    """The name of a profile as it is, a file as an absolute path: notebooks run in their own
    folder. Raises BirdnbError.
    """
    from birdnb.config import load_profile

    load_profile(text)
    return str(Path(text).expanduser().resolve()) if text.endswith((".yaml", ".yml")) else text


def papermill_parameters(words: list[str]) -> dict[str, Any]:
    """Read ``-p NAME VALUE`` pairs; values are Python literals where they can be, text elsewhere."""
    from birdnb.settings import literal

    if len(words) % 3 or any(word not in ("-p", "--parameters") for word in words[::3]):
        raise BirdnbError(
            f"after -- only papermill's -p NAME VALUE is understood, not {' '.join(words)!r}"
        )
    return {name: literal(value) for name, value in zip(words[1::3], words[2::3], strict=True)}


def run(
    books: list[Path], parameters: dict[str, Any], extra: dict[str, Any], again: bool = False
) -> int:
    """Execute the notebooks one by one into the report folder; stop at the first that fails."""
    from birdnb.config import load_profile

    known = {book: _known_parameters(book) for book in books}
    _check_parameters(extra, sorted(set().union(*known.values())))
    if isinstance(extra.get("pretrained"), str) and Path(extra["pretrained"]).expanduser().exists():
        extra["pretrained"] = str(
            Path(extra["pretrained"]).expanduser().resolve()
        )  # notebooks run in their own folder
    profile = load_profile(parameters["profile"], demo=parameters["corpus"] == "demo")
    report = report_folder(parameters["corpus"], parameters["profile"])
    print(
        f"corpus {parameters['corpus']}, profile {parameters['profile']}, results in "
        f"{_short(report)}",
        flush=True,
    )
    weights = {
        extra.get("pretrained"),
        *(settings.model.pretrained for settings in profile.runs.values()),
    }
    sources = [parameters["corpus"], *sorted(value for value in weights if isinstance(value, str))]
    stamp = _hash(_code_state(), repr(profile), *map(_file_state, sources))
    began = time.monotonic()
    for book in books:
        given = {
            name: value for name, value in {**parameters, **extra}.items() if name in known[book]
        }
        told = json.dumps(given, sort_keys=True, default=str)
        number = book.stem[:2]
        before = [
            run for other, names in TRAINED.items() if other < number for run in names
        ]  # read by it, not written
        stamp = _hash(
            stamp,
            book.read_text(encoding="utf-8"),
            told,
            _state_of(before, parameters, profile.name),
        )
        own = functools.partial(_state_of, TRAINED.get(number, ()), parameters, profile.name)
        if not _execute(book, given, report, stamp, again, own):
            return 1
    page = report / "PHASE3_RESULTS.html"
    places = f"the notebooks: {_short(report / 'notebooks')}" + (
        f"; the report: {_short(page)}" if page.exists() else ""
    )
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes; {places}")
    return 0


def _check_parameters(given: dict[str, Any], known: list[str]) -> None:
    """Raises BirdnbError for a name that no notebook knows, and for a value that is wrong for the
    setting of that name.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise BirdnbError(
                f"no notebook that was asked for has a parameter {name!r}{hint}; known are "
                f"{', '.join(known)}"
            )
    if given:
        from birdnb.training.options import check_values

        check_values(given)


def report_folder(corpus: str, profile: str) -> Path:
    """``reports/<corpus>-<profile>``, both as safe file names; ``profile`` is a name or the path of
    a YAML file.
    """
    from birdnb.corpora import corpus_name

    return (
        reports_dir()
        / f"{corpus_name(corpus)}-{safe_name(Path(profile).name.removesuffix('.yaml').removesuffix('.yml'))}"
    )


def _execute(
    book: Path,
    parameters: dict[str, Any],
    report: Path,
    stamp: str,
    again: bool,
    runs: Callable[[], str],
) -> bool:
    """Execute one notebook; print one line, its beginning at once; return whether it went well.

    ``runs`` tells the state of the runs that the notebook writes: one whose runs are gone or others
    is executed again.
    """
    target = report / "notebooks" / book.name
    running, failed = (target.with_suffix(f".{state}.ipynb") for state in ("running", "failed"))
    for old in (running, failed):
        old.unlink(missing_ok=True)
    name = f"{book.stem:<22}"
    missing_report = book.stem.startswith("07") and not (report / "PHASE3_RESULTS.html").exists()
    if not again and not missing_report and _stamp_of(target) == {"stamp": stamp, "runs": runs()}:
        print(f"{name} up to date", flush=True)
        return True
    began = time.monotonic()
    log = report / "logs" / f"{book.stem}.log"
    terminal = sys.stdout.isatty()  # there a progress bar takes the line meanwhile
    print(f"{name} running ...\r" if terminal else f"{name} ", end="", flush=True)
    error = execute(book, running, parameters, log)
    line = f"{name} " * terminal + f"{(time.monotonic() - began) / 60:4.1f} min"
    if error:
        os.replace(running, failed)
        print(
            f"{line}  FAILED: {error}\n  the notebook as far as it got: {_short(failed)}\n  its "
            f"log: {_short(log)}"
        )
        return False
    finished = json.loads(running.read_text(encoding="utf-8"))
    finished["metadata"]["birdnb"] = {"stamp": stamp, "runs": runs()}
    write_text(target, json.dumps(tidy(finished), indent=1, ensure_ascii=False) + "\n")
    running.unlink()
    print(f"{line}  {title(book)}", flush=True)
    return True


def test(books: list[Path], units: bool = True) -> int:
    """Unit tests if wanted, then nbval in full mode on the committed notebooks against a scratch
    artifacts folder.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests",
        "--numprocesses",
        "auto",
        "--dist",
        "loadfile",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # a core for each process
    status = subprocess.call(command, cwd=ROOT, env=environment) if units else 0
    with tempfile.TemporaryDirectory(prefix="birdnb-") as scratch:
        environment = {**os.environ, "BIRDNB_ARTIFACTS": f"{scratch}/artifacts",
                       "BIRDNB_REPORTS": f"{scratch}/reports",
                       "BIRDNB_HEADLESS": "1", "TQDM_DISABLE": "1"}  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval",
                   "--nbval-current-env",
                   "--nbval-cell-timeout", "1200", *map(str, books)]  # fmt: skip
        return subprocess.call(command, cwd=ROOT, env=environment) or status


def bless(books: list[Path]) -> int:
    """Execute the committed notebooks with their defaults and rewrite them, outputs and all, and
    the demo's report.

    They start from nothing, in a scratch artifacts folder, as in the regression lane.
    """
    with tempfile.TemporaryDirectory(prefix="birdnb-") as scratch:
        os.environ |= {"TQDM_DISABLE": "1", "BIRDNB_ARTIFACTS": f"{scratch}/artifacts"}
        for book in books:
            target = Path(scratch) / book.name
            error = execute(book, target, {}, Path(scratch) / "log")
            if error:
                print(f"{book.stem}: {error}", file=sys.stderr)
                return 1
            write_text(
                book,
                json.dumps(
                    tidy(json.loads(target.read_text(encoding="utf-8"))),
                    indent=1,
                    ensure_ascii=False,
                )
                + "\n",
            )
            print(f"{book.stem} blessed")
    return 0


def _known_parameters(book: Path) -> set[str]:
    import papermill

    return set(papermill.inspect_notebook(book))


def _stamp_of(book: Path) -> dict[str, str] | None:
    return (
        json.loads(book.read_text(encoding="utf-8"))["metadata"].get("birdnb")
        if book.exists()
        else None
    )


def _code_state() -> str:
    files = sorted(
        path
        for path in (ROOT / "birdnb").rglob("*")
        if path.suffix in {".py", ".yaml", ".safetensors", ".j2", ".css"}
    )
    return _hash(*(path.read_bytes() for path in files))


def _file_state(name: str) -> str:
    """A key that changes with the files of a corpus or of weights; what is no path (demo, a hub id)
    stands for itself.
    """
    root = Path(name).expanduser()
    files = [root] if root.is_file() else root.rglob("*")
    return _hash(
        name,
        json.dumps(sorted((str(path), *_size_and_time(path)) for path in files if path.is_file())),
    )


def _size_and_time(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


def _state_of(runs: Iterable[str], parameters: dict[str, Any], profile: str) -> str:
    """A key that changes with the configurations of these runs, and with which of them are
    finished.
    """
    from birdnb.corpora import corpus_name

    folder = artifacts_dir() / "runs" / f"{corpus_name(parameters['corpus'])}-{profile}"
    part = "fold-*" if parameters["folds"] else "."
    finished = [
        path.parent for run in runs for path in sorted((folder / run).glob(f"{part}/metrics.json"))
    ]
    return _hash(
        *(
            text
            for run in finished
            for text in (str(run.relative_to(folder)), (run / "config.json").read_text("utf-8"))
        )
    )


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else part.encode()).digest())
    return digest.hexdigest()[:16]


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
