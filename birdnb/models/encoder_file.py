"""What is said about the file of an encoder: in itself, or in the YAML file beside it.

For Perch 2 as ONNX, whose card comes with birdnb, two lines do: ``sample_rate: 32000`` and
``card: perch_2``. The fields of a card may stand there as well: what the encoder learned from and
until when decides which test recordings it may have heard before.
"""

import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

from birdnb.cards import Card, card_named, make_card
from birdnb.files import BirdnbError, first_line, sha256_of, user_path
from birdnb.models.encoders import Label
from birdnb.settings import Settings, check_shape, fields_of, filled, literal, read_yaml

NOT_SAID = "not said"
# in the protobuf of ONNX: the entry "location" of external_data, and how long the name after it is
OUTSIDE = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])", re.DOTALL)
DELIMITERS, NO_DELIMITER = ",;\t|", "\x1f"  # of a CSV file; the second stands in no name
SHORTEST_SECONDS = 0.1  # of a window; less is a model of something else


@dataclass(frozen=True)
class Description(Settings):
    """How the file of an encoder is used; a YAML file beside it may also fill its card."""

    sample_rate: int | None = Field(default=None, ge=1000, description="of the input [Hz]")
    window_seconds: float | None = Field(
        default=None,
        gt=0,
        description="length of the input [s]; not needed where the file fixes it",
    )
    input: str = Field(default="", description="name of the input; not needed where there is one")
    embedding: str = Field(
        default="", description="name of the output to use; not needed where there is one"
    )
    answer: str = Field(default="", description="name of the output with its own logits, if any")
    labels: str = Field(
        default="", description="file with its classes, a line each: Scientific name_Common name"
    )
    about: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the card

    def sound(self, samples: int | None, path: Path) -> tuple[int, float]:
        """Return sample rate and window [s] of an input of so many samples (None: any number)."""
        if self.sample_rate is None:
            raise _unsaid(path, "sample_rate: 32000, say")
        if samples is None and self.window_seconds is None:
            raise _unsaid(path, "window_seconds: 5.0, say")
        seconds = samples / self.sample_rate if samples else self.window_seconds
        assert seconds is not None
        if self.window_seconds is not None and abs(seconds - self.window_seconds) > 0.01:
            raise BirdnbError(
                f"{path} takes {samples} samples, {seconds:g} s at {self.sample_rate} Hz, and "
                f"window_seconds is {self.window_seconds:g}: correct the one or the other"
            )
        if seconds < SHORTEST_SECONDS:
            raise BirdnbError(
                f"{path} takes {seconds:g} s at {self.sample_rate} Hz, too short for a bird: is it "
                f"a model of sound, and its sample_rate right?"
            )
        return self.sample_rate, seconds

    def card(self, path: Path) -> Card:
        """Return the card; what nobody has said is called so."""
        unsaid = {"title": path.stem, "version": sha256_of_model(path)[:12]}
        unsaid |= dict.fromkeys(("licence", "source", "trained_on"), NOT_SAID)
        return make_card(unsaid | self.about, str(beside(path)))


def sha256_of_model(path: Path) -> str:
    """Return the SHA-256 of a model's file, and of those that an ONNX file keeps weights in."""
    own, data = sha256_of(path), path.read_bytes() if path.suffix == ".onnx" else b""
    names = set()
    for found in OUTSIDE.finditer(data):
        low, high = [*found[1], 0][:2]
        length = (low & 0x7F) + 128 * high
        names.add(data[found.end() : found.end() + length].decode(errors="ignore"))
    parts = [Path(name) for name in sorted(names) if ".." not in Path(name).parts]
    files = [path.parent / part for part in parts if not part.is_absolute()]
    outside = [sha256_of(file) for file in files if file.is_file()]
    return hashlib.sha256("".join([own, *outside]).encode()).hexdigest() if outside else own


def model_file(given: str) -> Path:
    """Return the path of a model that a person named. Raises BirdnbError when no file is there."""
    path = user_path(given)
    if not os.path.isfile(path):  # also false of what cannot be a path
        raise BirdnbError(f"no model at {given!r}: give the path of an .onnx or .tflite file")
    return path


def describe(path: Path, inside: Mapping[str, str], usual: Mapping[str, Any]) -> Description:
    """Gather what is said: ``usual`` things, over them those ``inside`` the file, then the YAML.

    Raises BirdnbError for a YAML file that is damaged or says what nobody asks.
    """
    known = {*fields_of(Card), *fields_of(Description), "card"} - {"about"}
    said = dict(usual) | {name: literal(text) for name, text in inside.items() if name in known}
    if beside(path).is_file():
        written = read_yaml(beside(path)) or {}
        check_shape(str(beside(path)), written, 1)
        said |= written
    card = said.pop("card", None)
    about = {} if card is None else dataclasses.asdict(card_named(str(card)))
    about |= {name: said.pop(name) for name in fields_of(Card) if name in said}
    return filled(Description, {**said, "about": about}, str(beside(path)))


def beside(path: Path) -> Path:
    """Return where the description of a file lies: perch_v2.yaml of perch_v2.onnx."""
    return path.with_suffix(".yaml")


def read_labels(said: Description, path: Path) -> list[Label]:
    """Read the labels named in a description: a text file with a line each, or a CSV file.

    A CSV file has a column of scientific names (scientific_name, sci_name, species or its first)
    and may have one of common names. Raises BirdnbError when it is missing, damaged or empty.
    """
    if not said.labels:
        return []
    file = path.parent / user_path(said.labels)
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".csv":
            found = _from_csv(text)
        else:
            lines = [line.strip() for line in text.splitlines()]
            found = [Label(*line.split("_", 1)) for line in lines if line]
    except (OSError, ValueError) as error:
        raise BirdnbError(f"{file} cannot be read as labels ({error}): see {path}") from error
    if not found:
        raise BirdnbError(f"{file} holds no labels: write a line for each class of {path} into it")
    return found


def _from_csv(text: str) -> list[Label]:
    head = text.lstrip("\r\n").partition("\n")[0]
    mark = max(DELIMITERS, key=head.count)
    table = pd.read_csv(
        io.StringIO(text), sep=mark if mark in head else NO_DELIMITER, index_col=False, dtype=str,
        keep_default_na=False,
    )  # fmt: skip
    names = {str(name).strip().lower(): name for name in table.columns}
    scientific = next(
        (names[n] for n in ("scientific_name", "sci_name", "species") if n in names),
        table.columns[0],
    )
    common = next((names[n] for n in ("common_name", "com_name") if n in names), None)
    others = table[common] if common else [""] * len(table)
    return [Label(*pair) for pair in zip(table[scientific], others, strict=True)]


def refuse(path: Path, what: str, error: Exception) -> BirdnbError:
    """Return the error for a file that is damaged or something else."""
    said = first_line(error)
    return BirdnbError(f"{path} cannot be read as {what} ({said}): fetch or copy it again")


def _unsaid(path: Path, what: str) -> BirdnbError:
    return BirdnbError(
        f"{path} does not say its {what.split(':')[0]}: write {what} into {beside(path)}"
    )
