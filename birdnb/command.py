"""What all commands share: an error is one line, an interruption too, and any terminal will do."""

import argparse
import contextlib
import functools
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, ParamSpec

from birdnb.files import BirdnbError

P = ParamSpec("P")


def command(interrupted: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a function that may raise the ``main`` of a command, which returns the exit status.

    It is the function's own, or 2 after a BirdnbError, which is printed in one line, or 130 after
    Ctrl-C, when the sentence ``interrupted`` is printed. Where nobody reads any more (``| head``)
    it stops without a word, with 141 as other programs do.
    """

    def decorate(function: Callable[P, int]) -> Callable[P, int]:
        """Wrap the function that does what the command is asked."""

        @functools.wraps(function)
        def main(*args: P.args, **kwargs: P.kwargs) -> int:
            """Run the command; errors become a line and an exit status."""
            print_anything()
            try:
                with _flushed():
                    return function(*args, **kwargs)
            except BirdnbError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(f"\n{interrupted}", file=sys.stderr)
                return 130
            except OSError as error:
                if _can_print():
                    raise
                return _unheard(error)

        return main

    return decorate


def called(usual: str) -> str:
    """Return the name for a command's help and errors: ``birdnb train`` where it was called so."""
    return sys.argv[0] if sys.argv[0].startswith("birdnb ") else usual


@contextlib.contextmanager
def _flushed() -> Iterator[None]:
    try:
        yield
    finally:  # after argparse's SystemExit, too
        sys.stdout.flush()


def _can_print() -> bool:
    """Tell whether stdout still takes text, by a blank line; else an OSError may be its own."""
    try:
        print(flush=True)
    except OSError:
        return False
    return True


def _unheard(error: OSError) -> int:
    """Return the exit status when stdout takes no more text; nothing is written there at exit."""
    sys.stdout = _nowhere("w")
    if isinstance(error, BrokenPipeError):
        return 141
    print(f"error: cannot print: {error.strerror}", file=sys.stderr)
    return 2


def print_anything() -> None:
    """Let stdout and stderr escape what the terminal's encoding lacks, instead of raising.

    One that is closed takes anything and shows nothing. Terminals in ASCII, Latin-1 or cp1252 know
    few letters, and no terminal the bytes of a file name that is not UTF-8.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order they get the numbers 0, 1 and 2 again
            setattr(sys, name, _nowhere(mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere(mode: str) -> IO[str]:
    """Open the empty device for as long as the process lives."""
    return open(os.devnull, mode)


def number(
    kind: type[int] | type[float], least: float, most: float = math.inf, *, said: str
) -> Callable[[str], Any]:
    """Return what reads an option's number; its error is the text given, and ``said``."""

    def read(text: str) -> int | float:
        """Read what was typed. Raises argparse.ArgumentTypeError outside the range."""
        try:
            value = kind(text)
        except ValueError:
            value = math.nan  # which is nowhere between
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} {said}")
        return value

    return read


positive = number(int, 1, said="is no whole number from 1 on")
parse_seed = number(int, 0, said="is no seed: give 0 or more")
# fmt: off
SHARED: dict[str, dict[str, Any]] = {  # options that several commands have
    "--corpus": {"default": "demo", "metavar": "CORPUS",
                 "help": "demo (synthesised songs, the default) or a folder of recordings"},
    "--profile": {"default": "laptop", "metavar": "NAME",
                  "help": "laptop (the default), gpu, or a YAML file of your own"},
    "--seed": {"type": parse_seed, "default": 7, "metavar": "N",
               "help": "seed of the split and of training (default 7)"},
    "--encoders": {"nargs": "+", "metavar": "NAME", "help": "hold the networks against frozen "
                   "encoders: birdnet, onnx:PATH (default: those of the profile)"},
    "--corrections": {"metavar": "FILE", "help": "apply a table of corrected labels, as notebook "
                      "07 writes it; the results are those of another corpus, <name>-corrected"},
    "--dask": {"metavar": "ADDRESS",
               "help": "let a Dask cluster do the work, by its scheduler: tcp://host:8786"},
}
# fmt: on


def add_shared(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add options that several commands have, by name."""
    for name in names:
        parser.add_argument(name, **SHARED[name])
