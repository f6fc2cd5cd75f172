"""The results lane: one notebook after the other, executed into the report folder."""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdnb.files import BirdnbError, report_folder, user_path, whole_path, write_text, writing
from birdnb.registry import CURVES, TRAINED, check_encoders, encoder_runs, whole_encoder
from birdnb.study.books import check_parameters, known_parameters, title
from birdnb.study.execution import execute, tidy
from birdnb.study.state import code_key, files_key, key, runs_key, stamp_of
from birdnb.training.origin import check_runs

if TYPE_CHECKING:
    from birdnb.config import Profile

PAGE = "PHASE3_RESULTS.html"


def run(
    books: list[Path], parameters: dict[str, Any], extra: dict[str, Any], again: bool = False,
    dask: str | None = None, execute: Callable[..., str | None] = execute,
) -> int:  # fmt: skip
    """Execute the notebooks one by one into the report folder; stop at the first that fails.

    With ``dask``, the address of a cluster's scheduler, spectrograms are computed there before.
    ``execute`` runs a notebook, as that of ``execution`` does.
    """
    from birdnb.config import load_profile
    from birdnb.corpora import corpus_name
    from birdnb.models.encoders import open_encoder

    known = {book: known_parameters(book) for book in books}
    check_parameters(extra, sorted(set().union(*known.values())))
    profile = load_profile(parameters["profile"], demo=parameters["corpus"] == "demo")
    encoders = check_encoders(extra.get("encoders", profile.encoders))
    extra = _with_whole_paths(extra, encoders)
    if extra.get("pretrained") is None:
        _check_weights(profile, parameters["profile"], books)
    report = study_folder(parameters["corpus"], parameters["profile"])
    check_runs(whole_path(parameters["corpus"]), corpus_name(parameters["corpus"]), profile.name)
    print(f"corpus {parameters['corpus']}, profile {parameters['profile']}, results in "
          f"{_short(report)}", flush=True)  # fmt: skip
    if dask:
        from birdnb.corpora import open_corpus
        from birdnb.features.cache import build_cache

        build_cache(open_corpus(parameters["corpus"]), profile.audio, dask=dask)
    weights = {extra.get("pretrained"), *(run.model.pretrained for run in profile.runs.values())}
    sources = [parameters["corpus"], *_beside(parameters["corpus"])]
    sources += sorted(name for name in weights if isinstance(name, str))
    opened = [open_encoder(name, profile) for name in encoders]  # errors before the work
    weights_of = [key(one.key, repr(one.card), repr(one.labels)) for one in opened]
    stamp = key(code_key(), repr(profile), *weights_of, *map(files_key, sources))
    trained = TRAINED | {"04": (*TRAINED["04"], *encoder_runs(encoders))}
    began = time.monotonic()
    for book in books:
        given = {name: v for name, v in {**parameters, **extra}.items() if name in known[book]}
        told = json.dumps(given, sort_keys=True, default=str)
        number = book.stem[:2]
        read = [run for other, runs in trained.items() if other < number for run in runs]
        state = functools.partial(runs_key, parameters=parameters, profile=profile.name)
        stamp = key(stamp, book.read_text(encoding="utf-8"), told, state(read))
        own = functools.partial(state, trained.get(number, ()))
        if not _execute(execute, book, given, report, stamp, again, own):
            return 1
    places = f"the notebooks: {_short(report / 'notebooks')}"
    if (report / PAGE).exists():
        places += f"; the report: {_short(report / PAGE)}"
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes; {places}")
    return 0


def _check_weights(profile: "Profile", given: str, books: list[Path]) -> None:
    """Raise BirdnbError where weights that these notebooks begin from are not there."""
    from birdnb.models.weights import is_local

    trained = {run for book in books for run in TRAINED.get(book.stem[:2], ())}
    for name in [r.model.pretrained for n, r in profile.runs.items() if n in trained]:
        if not isinstance(name, str) or name == "synthetic" or not is_local(name):
            continue
        path = user_path(name)
        if not (path.is_absolute() and path.exists()):
            raise BirdnbError(
                f"no weights at {whole_path(Path(given).parent / path)}: give a path as seen from "
                f"the folder of the profile, or a whole one"
            )


def _beside(corpus: str) -> list[str]:
    """Return the tables beside a corpus that change what is made of it."""
    from birdnb.corpora.corrections import corrections_file
    from birdnb.corpora.xeno_canto.facts import facts_file

    return [str(path) for path in (corrections_file(), facts_file(corpus)) if path is not None]


def study_folder(corpus: str, profile: str) -> Path:
    """Return ``reports/<corpus>-<profile>`` for a profile's name or the path of its file."""
    from birdnb.corpora import corpus_name

    name = Path(profile).name.removesuffix(".yaml").removesuffix(".yml")
    return report_folder(corpus_name(corpus), name)


def _with_whole_paths(extra: dict[str, Any], encoders: tuple[str, ...]) -> dict[str, Any]:
    """Make the paths of weights and encoders absolute: notebooks run in their own folder."""
    whole: dict[str, Any] = {}
    weights = extra.get("pretrained")
    if isinstance(weights, str) and user_path(weights).exists():
        whole["pretrained"] = str(whole_path(weights))
    if encoders:
        whole["encoders"] = [whole_encoder(name) for name in encoders]
    return extra | whole


def _execute(
    execute: Callable[..., str | None], book: Path, parameters: dict[str, Any], report: Path,
    stamp: str, again: bool, runs: Callable[[], str],
) -> bool:  # fmt: skip
    """Execute one notebook; print one line, its beginning at once; return whether it went well.

    ``runs`` tells the state of the runs that the notebook writes: one whose runs are gone or others
    is executed again.
    """
    target = report / "notebooks" / book.name
    running, failed = (target.with_suffix(f".{state}.ipynb") for state in ("running", "failed"))
    for old in (running, failed):
        with writing(old):
            old.unlink(missing_ok=True)
    name = f"{book.stem:<22}"
    if (
        not again
        and not _report_is_old(book, report)
        and stamp_of(target) == {"stamp": stamp, "runs": runs()}
    ):
        print(f"{name} up to date", flush=True)
        return True
    began = time.monotonic()
    log = report / "logs" / f"{book.stem}.log"
    terminal = sys.stdout.isatty()  # there a progress bar takes the line meanwhile
    print(f"{name} running ...\r" if terminal else f"{name} ", end="", flush=True)
    error = execute(book, running, parameters, log)
    prefix = f"{name} " if terminal else ""
    line = f"{prefix}{(time.monotonic() - began) / 60:4.1f} min"
    if error:
        print(f"{line}  FAILED: {error}")
        if running.exists():
            print(f"  the notebook as far as it got: {_short(running.replace(failed))}")
        print(f"  its log: {_short(log)}")
        return False
    finished = json.loads(running.read_text(encoding="utf-8"))
    finished["metadata"]["birdnb"] = {"stamp": stamp, "runs": runs()}
    write_book(target, finished)
    running.unlink()
    print(f"{line}  {title(book)}", flush=True)
    return True


def _report_is_old(book: Path, report: Path) -> bool:
    """Tell whether notebook 07 lacks its report, or learning curves were drawn after it."""
    page, curves = report / PAGE, report / f"{CURVES}.json"
    if not book.stem.startswith("07"):
        return False
    return not page.exists() or (curves.exists() and curves.stat().st_mtime > page.stat().st_mtime)


def write_book(path: Path, book: dict[str, Any]) -> None:
    """Write an executed notebook without what makes it noisy."""
    write_text(path, json.dumps(tidy(book), indent=1, ensure_ascii=False) + "\n")


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
