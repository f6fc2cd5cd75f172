"""Run the study: the command that run_all.sh hands over to once the environment stands.

Only the standard library is imported at the top, so that ``--help`` and a mistyped option answer at
once.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from birdnb.command import add_shared, called, command
from birdnb.files import ROOT, BirdnbError, name_fault, whole_path
from birdnb.study import books, regression
from birdnb.study.run import run
from birdnb.training.tracker import add_tracker, follow

ALONE = ("setup", "lab", "test", "bless", "site", "list")  # options that run no study
EXAMPLES = """examples:
  ./run_all.sh                                         the demo study on the laptop profile
  ./run_all.sh --corpus data/xeno_canto --profile gpu  your own recordings, on a GPU
  ./run_all.sh --folds 4 --corpus data/my_birds        a small corpus: four grouped folds
  ./run_all.sh --only 04 -- -p epochs 30               one notebook, with papermill parameters
  ./run_all.sh --only A1                               an appendix: into the field
  ./run_all.sh --encoders birdnet                      BirdNET as a yardstick beside the networks
  ./run_all.sh --setup                                 only prepare the environment
"""


@command("stopped. What is finished is kept: the same command goes on from there.")
def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks; 0 done, 1 a notebook failed, 2 an error, 130 interrupted."""
    words, extra = _halves(list(sys.argv[1:] if argv is None else argv))
    parser = make_parser()
    options, unknown = parser.parse_known_args(words)
    if unknown:
        asked = {"-p", "--parameters"} & set(unknown)
        remedy = "; notebook parameters come after --, as in: ./run_all.sh -- -p epochs 30"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{remedy if asked else ''}")
    _refuse_what_is_ignored(parser, options, extra)
    for name in ("BIRDNB_ARTIFACTS", "BIRDNB_REPORTS"):  # notebooks run in their own folder
        if folder := os.environ.get(name):
            os.environ[name] = _text(name, str(whole_path(folder)))
    chosen = books.select(options.only, options.test or options.bless or options.list)
    if options.list:
        for book in chosen:
            print(f"{book.stem[:2]}  {book.stem[3:]:<22}{books.title(book)}")
        return 0
    if options.setup:
        print("The environment stands.")
        return 0
    if options.lab:
        return lab()
    if options.site:
        from birdnb.study.site import build

        return build()
    if options.test:
        return regression.test(chosen, units=not options.only)
    if options.bless:
        return regression.bless(chosen)
    follow(options.tracker)
    if options.corrections:
        from birdnb.corpora.corrections import use_corrections

        use_corrections(options.corrections)
    parameters = {"corpus": corpus_argument(options.corpus),
                  "profile": profile_argument(options.profile),
                  "seed": options.seed, "folds": options.folds}  # fmt: skip
    own = papermill_parameters(extra) | ({"encoders": options.encoders} if options.encoders else {})
    return run(chosen, parameters, own, options.again, options.dask)


def lab() -> int:
    """Open JupyterLab on the notebooks; its only kernel is this Python."""
    specs = "--ServerApp.kernel_spec_manager_class=birdnb.study.kernel.OwnSpecs"
    return subprocess.call([sys.executable, "-m", "jupyter", "lab", specs, "notebooks"], cwd=ROOT)


def _halves(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before and after the first ``--``."""
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called("run_all.sh"), epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run the bird-song study: seven notebooks, from recordings to a report, and "
        "appendices when asked for.",
    )  # fmt: skip
    add = parser.add_argument
    # fmt: off
    add_shared(parser, "--corpus", "--profile", "--seed", "--encoders", "--corrections", "--dask")
    add_tracker(parser)
    add("--folds", type=_folds, default=0, metavar="K",
        help="grouped K-fold cross-validation instead of one split")
    add("--only", nargs="+", metavar="NN",
        help="only these notebooks, by number: --only 01 04; an appendix: --only A1")
    add("--again", action="store_true", help="execute notebooks even when they are up to date")
    add("--setup", action="store_true",
        help="only prepare the environment (run_all.sh does that)")
    add("--lab", action="store_true", help="open JupyterLab on the notebooks")
    add("--test", action="store_true",
        help="run the unit tests, then compare the notebooks by nbval; with --only just those")
    add("--bless", action="store_true",
        help="execute the committed notebooks anew and rewrite their outputs")
    add("--site", action="store_true",
        help="make pages to read offline of notebooks, reports and reference, in the folder site")
    add("--list", action="store_true", help="list the notebooks, appendices too")
    # fmt: on
    return parser


def _refuse_what_is_ignored(
    parser: argparse.ArgumentParser, options: argparse.Namespace, extra: list[str]
) -> None:
    """Stop with an error for options that another one leaves without effect."""
    given = [name for name in ALONE if getattr(options, name)]
    if len(given) > 1:
        parser.error(f"--{given[0]} and --{given[1]} are two things: one after the other")
    alone = given[0] if given else None
    changed = [name for name in ("corpus", "profile", "seed", "folds", "dask", "tracker",
                                 "encoders", "corrections", "again")
               if getattr(options, name) != parser.get_default(name)]  # fmt: skip
    if alone in ("setup", "lab", "site") and options.only:  # the others choose notebooks, too
        changed.append("only")
    if alone and (changed or extra):
        parser.error(
            f"--{alone} takes no {'--' + changed[0] if changed else 'notebook parameters'}"
        )
    fixed = sorted({"corpus", "profile", "seed", "folds", "encoders"} & set(extra[1::3]))
    if fixed:
        parser.error(f"-p {fixed[0]}: give --{fixed[0]} instead, before the --")


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) == 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of folds: give 0 for one split, or 2 or more"
        )
    return int(text)


def corpus_argument(text: str) -> str:
    """Return demo, or a folder's absolute path. Raises BirdnbError for what is no corpus."""
    if text == "demo":
        return text
    from birdnb.corpora import open_corpus

    open_corpus(_text("the corpus", text), progress=False)
    return _text("the corpus", str(whole_path(text)))


def _text(what: str, path: str) -> str:
    """Return a path that notebooks can hold; raise BirdnbError for one that is no text."""
    if fault := name_fault(path):
        raise BirdnbError(f"{what} cannot be at {os.fsencode(path)!r}: {fault}")
    return path


def profile_argument(text: str) -> str:
    """Return a profile's name, or a file's absolute path. Raises BirdnbError for a wrong one."""
    from birdnb.config import load_profile

    load_profile(text)
    return str(whole_path(text)) if text.endswith((".yaml", ".yml")) else text


def papermill_parameters(words: list[str]) -> dict[str, Any]:
    """Read ``-p NAME VALUE`` pairs; a value is a Python literal where it can be, else text."""
    from birdnb.settings import literal

    if len(words) % 3 or any(word not in ("-p", "--parameters") for word in words[::3]):
        raise BirdnbError(
            f"after -- only papermill's -p NAME VALUE is understood, not {' '.join(words)!r}"
        )
    return {name: literal(value) for name, value in zip(words[1::3], words[2::3], strict=True)}


if __name__ == "__main__":
    sys.exit(main())
