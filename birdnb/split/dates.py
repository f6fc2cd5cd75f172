"""Read the day out of dates as recorders, spreadsheets and people write them.

A time of day, a zone and a prefix do not count. A text that names no day is undated. Numbers such
as 12/05/2023 are read in the one order that fits all of the column; where several orders fit, the
days that may be meant count as one, so that no session is split.
"""

import datetime
import re
import unicodedata
from functools import lru_cache

import pandas as pd
from dateutil import parser as dateutil

from birdnb.split.linking import smallest_linked

# where clocks that were never set begin: Unix (and west of Greenwich), Excel and SQL, macOS, FAT
UNSET = frozenset(["1970-01-01", "1969-12-31", "1899-12-30", "1899-12-31", "1900-01-00",
                   "1900-01-01", "1904-01-01", "1980-01-01"])  # fmt: skip
YEARS = range(1850, 2100)
ORDERS = {"day first": (2, 1, 0), "month first": (2, 0, 1), "year first": (0, 1, 2)}
# 20/04/23 and 20.04.23 begin with a year only where they can be read in no other order
YEAR_LAST_FORMS = ("/2", ".2")
# below it ten digits are seconds since 1970 (up to 2031), from it on year, month, day and hour
FIRST_HOUR = "1950010100"
YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})([-/.:_ ])(\d{1,2})\2(\d{1,2})(?!\d)")
COMPACT = re.compile(
    r"(?<!\d)(\d{4})(\d\d)(\d\d)(?:(?!\d)|(?=(?:[01]\d|2[0-4])(?:\d{2}){0,2}(?!\d)))"
)
SIX_DIGITS = re.compile(r"(?<!\d)(\d\d)(\d\d)(\d\d)(?=[-_ t]\d{4})")  # 230512_0503
YEAR_LAST = re.compile(r"(?<![\d.:])(?<!\d[-/])(\d{1,2})([-/.:_ ])(\d{1,2})\2(\d{4})(?!\d)")
LAST_SPAN = re.compile(
    r"(\d{1,2}([-/.])\d{1,2}\2\d{4})(?!\d).*?(?<!\d)(\d{1,2}([-/.])\d{1,2}\4\d{4})"
)
SPANS = re.compile(  # 12.-14.05.2023, 12.05. bis 14.05.2023, 12.05.23-14.05.23, 2023-05-12/13
    r"(?<![\w:./-])\d{1,2}\.?(?:\d{1,2}\.)? ?(?:[-&+/]|to|and|bis|und|et|au|y) ?"
    r"(?=\d{1,2}([-./])\d{1,2}\1(?:\d\d){1,2}(?!\d))"
    r"|(?<!\d)\d{1,2}([-/.])\d{1,2}\2\d\d-\d{1,2}\2\d{1,2}\2\d\d(?!\d)"
    r"|\d{4}([-./]?)\d\d\3\d\d/\d\d$"
)
UNSEPARATED = re.compile(r"(\d\d)()(\d\d)(\d\d(?:\d\d)?)")  # 12052023, 120523
TWO_DIGITS = re.compile(r"(?<![\d.:])(\d{1,2})([-/.])(\d{1,2})\2(\d\d)(?![\d.:])")
ORDINAL = re.compile(r"\d{4}-?(?:w\d\d-?\d|\d{3})")  # ISO weeks and days of the year
NUMBER = re.compile(r"(\d+)(?:[.,]\d*)?")
YEAR = re.compile(r"(?:18|19|20)\d\d")
TIME = re.compile(r"\d{1,2}\s?[:h]\s?\d\d(:\d\d)?([.,]\d+)?")
# fmt: off
MONTHS = {name: number for number, names in enumerate([
    "jan january januar janvier enero gennaio janeiro januari janv ene gen genn i "
    "stycznia ledna января янв ocak",
    "feb february februar fevrier febrero febbraio fevereiro februari fev fevr febr ii "
    "lutego unora февраля фев subat",
    "mar march marz maerz mars marzo marco maart mrz mart iii "
    "marca brezna марта мар",
    "apr april avril abril aprile avr abr iv "
    "kwietnia dubna апреля апр nisan",
    "may mai mayo maggio maio mei maj mag v "
    "maja kvetna мая маи mayıs",
    "jun june juni juin junio giugno junho giu vi "
    "czerwca cervna июня июн haziran",
    "jul july juli juillet julio luglio julho juil lug vii "
    "lipca cervence июля июл temmuz",
    "aug august aout agosto augustus augusti ago viii "
    "sierpnia srpna августа авг agustos",
    "sep sept september septembre septiembre setiembre settembre setembro set sett ix "
    "wrzesnia zari сентября сен eylul",
    "oct october oktober octobre octubre ottobre outubro okt ott out x "
    "pazdziernika rijna октября окт ekim",
    "nov november novembre noviembre novembro xi "
    "listopada listopadu ноября ноя kasım",
    "dec december dezember decembre diciembre dicembre dezembro des dez dic desember xii "
    "grudnia prosince декабря дек aralık",
]) for name in names.split()}
# fmt: on


def read_days(dates: pd.Series) -> tuple[pd.Series, str]:
    """Return the ISO day of each text (same index; "" where it names none), and what to say of it.

    The sentences say how numbers were read that leave the order open; "" where none does. Days that
    cannot be told apart (12 May or 5 December) come as one, the earliest of them.
    """
    possible, said = _possible(dates)
    links = [(text, day) for text, days in possible.items() for day in days]
    one = smallest_linked(*zip(*links, strict=True)) if links else pd.Series(dtype=object)
    return dates.map(one).fillna("").astype(object), said


def certain_days(dates: pd.Series) -> pd.Series:
    """Return the ISO day of each text that can mean one day only (same index), "" for others."""
    one = {text: days[0] for text, days in _possible(dates)[0].items() if len(days) == 1}
    return dates.map(one).fillna("").astype(object)


def _possible(dates: pd.Series) -> tuple[dict[str, list[str]], str]:
    """Return the days that each text may mean, and what to say of those left open."""
    readings = {text: readings_of(text) for text in dates.unique().tolist()}
    forms: dict[str, list[str]] = {}
    for text, found in readings.items():
        if found:
            forms.setdefault(_form(text, found), []).append(text)
    possible: dict[str, list[str]] = {}
    said = []
    for form, texts in forms.items():
        orders = [order for order in ORDERS if all(order in readings[text] for text in texts)]
        if form in YEAR_LAST_FORMS:
            orders = [order for order in orders if order != "year first"] or orders
        for text in texts:
            days = [readings[text][order] for order in orders] or list(readings[text].values())
            possible[text] = sorted(set(days))
        said.append(_sentence(texts, readings, orders, possible) if form else "")
    return possible, " ".join(filter(None, said))


@lru_cache(maxsize=2**18)
def readings_of(text: str) -> dict[str, str]:
    """Return the ISO days that a text may mean, by order of its numbers ("" where that is plain).

    Empty for what names no day: a year, a season, zeros, the first day of a clock never set.
    """
    plain = _plain(text)
    span = LAST_SPAN.search(plain)  # 12.05.2023 - 14.05.2023, in which 2023-14-05 is no day
    if SPANS.search(plain) or (span and span[1] != span[3]):
        return {}
    plainly = _plain_day(plain)
    if plainly is not None:
        return {"": plainly} if plainly else {}
    match = _numbers(plain)
    if not match:
        day = _in_words(TIME.sub(" ", plain))
        return {"": day} if day else {}
    numbers = match[1], match[3], match[4]
    found = {}
    for order, places in ORDERS.items():
        year, month, day_number = (numbers[place] for place in places)
        if order == "year first" and len(numbers[2]) == 4:
            continue
        if day := _day(_century(year), month, day_number):
            found[order] = day
    return found


def _numbers(plain: str) -> re.Match[str] | None:
    """Find three numbers whose order is open (groups 1, 3, 4) and what parts them (group 2)."""
    return UNSEPARATED.fullmatch(plain) or YEAR_LAST.search(plain) or TWO_DIGITS.search(plain)


def _plain(text: str) -> str:
    """Lower-case text with one kind of digit, dash and blank."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = re.sub(r"[\u2010-\u2015\u2212]", "-", plain)
    plain = re.sub(r"\s*[年月년월]\s*", "-", plain)
    return re.sub(r"\s+", " ", re.sub(r"\s*([-/.])\s*", r"\1", plain)).strip()


def _plain_day(plain: str) -> str | None:
    """Return the day of a text whose order of numbers is plain; "" for no day, None for others."""
    number = NUMBER.fullmatch(plain)
    if number and len(number[1]) == 10 and number[1] < FIRST_HOUR:
        return _counted(number[1])
    for pattern, groups in ((YEAR_FIRST, (1, 3, 4)), (COMPACT, (1, 2, 3))):
        found = {_day(*(match[group] for group in groups)) for match in pattern.finditer(plain)}
        if found - {""}:
            return found.pop() if len(found) == 1 else ""  # a span of days is no day
        if found and pattern is YEAR_FIRST:
            return ""  # 2023-00-00
    if match := SIX_DIGITS.search(plain):
        return _day(_century(match[1]), match[2], match[3])
    if ORDINAL.fullmatch(plain):
        return _iso(plain.upper())
    return _counted(number[1]) if number and not UNSEPARATED.fullmatch(plain) else None


def _iso(text: str) -> str:
    try:
        return _checked(dateutil.isoparser().isoparse(text).date())
    except ValueError:
        return ""


def _counted(digits: str) -> str:
    """Return the day of a number: an Excel serial, or seconds to nanoseconds since 1970."""
    if len(digits) == 5:
        return _checked(datetime.date(1899, 12, 30) + datetime.timedelta(days=int(digits)))
    for length, unit in ((10, 1), (9, 1), (13, 10**3), (12, 10**3), (16, 10**6), (19, 10**9)):
        if len(digits) == length:
            seconds = int(digits) // unit
            return _checked(datetime.date(1970, 1, 1) + datetime.timedelta(seconds=seconds))
    return ""


def _in_words(plain: str) -> str:
    """Return the day of a text with a month as a word or a Roman number; other words are left."""
    bare = unicodedata.normalize("NFKD", plain)
    bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
    parts = [
        part for part in re.findall(r"[^\W\d_]+|\d+", bare) if part in MONTHS or part.isdigit()
    ]
    months = [place for place, part in enumerate(parts) if part in MONTHS]
    year = next((place for place, part in enumerate(parts) if YEAR.fullmatch(part)), 0)
    if len(months) != 1 or year > 2:  # May 12-14, 2023
        return ""
    parts[months[0]] = dateutil.parserinfo.MONTHS[MONTHS[parts[months[0]]]][0]
    # 12 May 2023, May 12 2023, 2023 May 12; but 12 or 13 May 2023 is no day
    return _of_words(" ".join(parts[:3])) if months[0] < 2 and len(parts) > 2 else ""


@lru_cache(maxsize=2**12)
def _of_words(words: str) -> str:
    try:
        return _checked(dateutil.parse(words, dayfirst=True).date())
    except (ValueError, OverflowError):
        return ""


def _century(year: str) -> str:
    """Return a year of two digits in full, as ``strptime`` does: 69 is 1969, 68 is 2068."""
    return year if len(year) > 2 else str(int(year) + (1900 if int(year) >= 69 else 2000))


def _day(year: str, month: str, day: str) -> str:
    """Return the ISO day of three numbers; "" where there is no such day, or no clock was set."""
    try:
        return _checked(datetime.date(int(year), int(month), int(day)))
    except ValueError:
        return ""


def _checked(day: datetime.date) -> str:
    iso = day.isoformat()
    return iso if day.year in YEARS and iso not in UNSET else ""


def _form(text: str, found: dict[str, str]) -> str:
    """Name the way in which the numbers of a text are separated; "" where their order is plain."""
    if "" in found:
        return ""
    match = _numbers(_plain(text))
    return f"{match[2]}{len(match[4])}" if match else ""


def _sentence(
    texts: list[str],
    readings: dict[str, dict[str, str]],
    orders: list[str],
    possible: dict[str, list[str]],
) -> str:
    """Say how the texts of one form were read; "" where each has one reading only."""
    open_ones = [text for text in texts if len(set(readings[text].values())) > 1]
    if not open_ones:
        return ""
    text = open_ones[0]
    if len(possible[text]) > 1:
        days = " or ".join(possible[text])
        return (f"Dates such as {text!r} may mean {days}, and nothing in the table tells: "
                "these days count as one.")  # fmt: skip
    return f"Dates such as {text!r} are read {orders[0]}: the only order that fits all of them."
