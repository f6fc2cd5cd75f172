"""The command ``birdnb``: every command of the package under one name.

Each is a module of its own, imported when it is asked for: ``birdnb train`` is
``python -m birdnb.training``.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from birdnb import __version__
from birdnb.command import command
from birdnb.files import BirdnbError

# name: (package, what it does)
COMMANDS = {
    "study": ("study", "run the notebooks, from recordings to a report (as ./run_all.sh)"),
    "train": ("training", "train one run of the study"),
    "compare": ("comparison", "compare variants of a run over grouped folds"),
    "pretrain": ("pretraining", "make a checkpoint from invented song"),
    "benchmark": ("benchmark", "measure how fast it is here, beside the plain way"),
    "field": ("field", "let a trained run listen to hours of sound"),
    "xeno-canto": ("corpora.xeno_canto", "download recordings from Xeno-Canto"),
}
SHELLS = ("bash", "zsh", "tcsh")


@command("interrupted: the same command goes on, or begins anew")
def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the command that is named; its own exit status, or 2 for a name unknown."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        sys.argv = [f"birdnb {words[0]}", *words[1:]]  # the name in its help and in its errors
        return _module(words[0]).main()
    options = _parser().parse_args(words)
    if options.print_completion:
        print(_completion(options.print_completion))
    else:
        _parser().print_help()
    return 0


def _module(name: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"birdnb.{COMMANDS[name][0]}.__main__")


def _parser(whole: bool = False) -> argparse.ArgumentParser:
    """Return the parser of the names; ``whole``: with the options of every command, too."""
    parser = argparse.ArgumentParser(
        prog="birdnb",
        description="An open, reproducible study of how well bird species can be told apart by "
        "their song.",
        epilog="options of a command: birdnb COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"birdnb {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        metavar="SHELL",
        help=f"print what completes its words in a shell: {', '.join(SHELLS)}",
    )
    names = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, (_, what) in COMMANDS.items():
        options = [_module(name).make_parser()] if whole else []
        names.add_parser(name, help=what, parents=options, add_help=False)
    return parser


def _completion(shell: str) -> str:
    """Return the completion script for a shell. Raises BirdnbError without the package shtab."""
    try:
        import shtab
    except ImportError:
        raise BirdnbError(
            "completion needs the package shtab: pip install 'birdnb[completion]'"
        ) from None
    return shtab.complete(_parser(whole=True), shell)


if __name__ == "__main__":
    sys.exit(main())
