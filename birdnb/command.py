"""What all commands share: an error is one line, an interruption too, and any terminal will do."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from typing import ParamSpec

from birdnb.files import BirdnbError

P = ParamSpec("P")


def command(interrupted: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a function that may raise the ``main`` of a command, which returns the exit status.

    It is the function's own, or 2 after a BirdnbError, which is printed in one line, or 130 after
    Ctrl-C, when the sentence ``interrupted`` is printed.
    """

    def decorate(function: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(function)
        def main(*args: P.args, **kwargs: P.kwargs) -> int:
            print_anything()
            try:
                return function(*args, **kwargs)
            except BirdnbError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(f"\n{interrupted}", file=sys.stderr)
                return 130

        return main

    return decorate


def print_anything() -> None:
    """Let stdout and stderr escape what the terminal's encoding lacks, instead of raising.

    Terminals in ASCII, Latin-1 or cp1252 know few letters, and no terminal the bytes of a file
    name that is not UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
