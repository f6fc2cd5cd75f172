"""Names as they are: in a font that has their letters, in legends too; exponents without TeX."""

import functools
import unicodedata
import warnings
from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterSciNotation

SUPERSCRIPT = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
GLYPH = r"Glyph \d+ .* missing from"  # how matplotlib begins to complain, once a letter
_told: set[str] = set()  # letters without a font that were named already: once is enough


def fit_fonts(figure: Figure) -> None:
    """Give every text fonts that have its letters; one line warns of letters that none has."""
    lacking = []
    for text in figure.findobj(Text):
        letters = _letters(text.get_text()) - _has(tuple(text.get_fontfamily()))
        if letters:
            lacking.append((text, letters))
    wanted = frozenset().union(*(letters for _, letters in lacking))
    more = _families_for(wanted) if wanted else ()
    for text, _ in lacking:
        text.set_fontfamily([*text.get_fontfamily(), *more])
    lost = wanted - _has(more) - _told
    if lost:
        _told.update(lost)
        some = "".join(sorted(lost)[:12])
        warnings.warn(
            f"no font here has the letters {some!r}: they are drawn as boxes; install one that "
            f"does, such as Noto Sans or Noto Sans CJK",
            stacklevel=3,
        )


def legend_label(name: str) -> str:
    """Return a name as the label of a legend; matplotlib leaves out those that begin with ``_``."""
    return f" {name}" if name.startswith("_") else name


class PlainLogFormatter(LogFormatterSciNotation):
    """Ticks of a logarithmic axis as plain text, ``2×10⁻⁴``: nothing here is set as a formula."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        r"""Rewrite what matplotlib gives, ``$\mathdefault{2\times10^{-4}}$``, or ""."""
        formula = super().__call__(x, pos)
        number = formula.replace(r"$\mathdefault{", "").replace("}$", "").replace(r"\times", "×")
        base, _, exponent = number.partition("^{")
        return base + exponent.rstrip("}").translate(SUPERSCRIPT)


def _letters(text: str) -> set[str]:
    """Return the characters that need a glyph: neither blanks nor controls."""
    blank = {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"}
    return {letter for letter in text if unicodedata.category(letter) not in blank}


@functools.cache
def _has(families: tuple[str, ...]) -> frozenset[str]:
    """Return the characters that one or more of these font families have."""
    found: set[str] = set()
    for family in families:
        found |= _characters(font_manager.findfont(font_manager.FontProperties(family=[family])))
    return frozenset(found)


@functools.cache
def _characters(path: str) -> frozenset[str]:
    """Return the characters a font file has; none if matplotlib cannot draw it."""
    try:
        font = font_manager.get_font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@functools.cache
def _families_for(letters: frozenset[str]) -> tuple[str, ...]:
    """Find installed font families that together have these letters, as far as any do."""
    chosen, wanted = [], set(letters)
    for family in _installed():
        if wanted & _has((family,)):
            chosen.append(family)
            wanted -= _has((family,))
        if not wanted:
            break
    return tuple(chosen)


def _installed() -> tuple[str, ...]:
    """List upright families of usual weight, the plainest first, new ones included."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    _add(path for path in font_manager.findSystemFonts() if path not in known)
    names = {
        entry.name
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular")
        if not entry.name.startswith("Last Resort")  # has a box for every letter there is
    }
    odd = ("Mono", "Serif", "Condensed", "Narrow", "Light")
    return tuple(sorted(names, key=lambda name: (sum(word in name for word in odd), name)))


def _add(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):
            continue  # no font that matplotlib can draw
