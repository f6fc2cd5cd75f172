"""Labels: one species under several spellings, near twins, and what names no species."""

from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from birdnb.corpora import open_corpus
from birdnb.corpora.labels import is_stated, label_fault, near_twins, one_spelling, spelling_notes

DISGUISES = [
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: name.replace(" ", "\u00a0"),
    lambda name: name.replace(" ", "  "),
    lambda name: name.replace(" ", "_"),
    lambda name: name + " ",
    str.upper,
    str.title,
    lambda name: name[:3] + "\u00ad" + name[3:],
    lambda name: name + "\u200b",
    lambda name: "\ufeff" + name,
    lambda name: "".join(
        chr(ord(letter) + 0xFEE0) if letter.isascii() and letter.isalpha() else letter
        for letter in name
    ),
]


@given(
    st.sampled_from(
        ["Grünfink", "Turdus merula", "Parus niger_Black Tit", "Сорока обыкновенная", "Ōtori-tori"]
    ),
    st.lists(st.sampled_from(DISGUISES), min_size=1, max_size=3),
)
def test_what_cannot_be_seen_makes_no_other_species(name, disguises):
    other = name
    for disguise in disguises:
        other = disguise(other)
    labels = pd.Series([name, name, other, "Parus niger", "Turdus merulla"])
    assert one_spelling(labels).tolist() == [name, name, name, "Parus niger", "Turdus merulla"]
    assert one_spelling(labels[[2]]).tolist() == [other], "alone it stays letter for letter"


def test_folders_of_one_species_are_one_and_said(tmp_path):
    names = [
        "Turdus merula",
        "Turdus Merula",
        "Turdus  merula",
        "Turdus_merula",
        "Turdus merulla",
        "Grünfink",
        unicodedata.normalize("NFD", "Grünfink"),
        "Noise",
        "noise",
    ]
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"r{number}.wav").write_bytes(b"RIFF    WAVE" + bytes([number]))
    corpus = open_corpus(tmp_path, progress=False)
    counts = corpus.manifest["species"].value_counts().to_dict()
    assert counts == {"Turdus merula": 4, "Grünfink": 2, "Turdus merulla": 1}
    assert set(corpus.manifest["path"].str.split("/").str[0]) == set(names[:-2]), "files stay"
    assert corpus.notes == (
        "'Grünfink' is also written 'Gru\\u0308nfink': taken for one species.",
        "'Turdus merula' is also written 'Turdus  merula', 'Turdus Merula', 'Turdus_merula': "
        "taken for one species.",
        "'Turdus merula' and 'Turdus merulla' differ by one letter: are they one species? "
        "Then rename one.",
    )


def test_letters_of_another_script_are_named_and_not_merged():
    latin, mixed = "Turdus merula", "Turdus m\u0435rul\u0430"
    labels = pd.Series([latin, latin, mixed])
    assert one_spelling(labels).tolist() == labels.tolist()
    assert spelling_notes(labels, labels) == [
        f"{latin!r} and 'Turdus m\\u0435rul\\u0430' look the same, in letters of two scripts: are "
        "they one species? Then rename one."
    ]


@pytest.mark.parametrize(
    "text",
    [
        "nan, nan",
        "NULL,NULL",
        "None None",
        "Unknown, Unknown",
        "#REF!",
        "#DIV/0!",
        "#N/A N/A",
        "N / A",
        "-9999",
        "not-specified",
        "none given",
        "no information",
        "keine Angaben",
        "s.d.",
        "Anon.",
        "xxx",
    ],
)
def test_what_states_nothing(text):
    assert not is_stated(text)


@pytest.mark.parametrize("text", ["Nana", "unknown, Kenya", "45.1, 7.2", "-1", "0", "No. 7", "X"])
def test_what_states_something(text):
    assert is_stated(text)


def test_near_twins_are_one_letter_apart():
    names = [
        "Turdus merula",
        "Turdus merulla",
        "Trudus merula",
        "Turdus mervla",
        "Parus major",
        "Parus minor",
        "abethr1",
        "abethr2",
        "Grus grus",
        "Gras grus",
        "Emberiza cia 1",
    ]
    assert near_twins(names) == [
        ("Gras grus", "Grus grus"),
        ("Trudus merula", "Turdus merula"),
        ("Turdus merula", "Turdus merulla"),
        ("Turdus merula", "Turdus mervla"),
    ]


@pytest.mark.parametrize(
    "label",
    [
        "Noise",
        "noise_2",
        "Background",
        "_background_noise_",
        "background sounds",
        "Silence",
        "nocall",
        "no_call",
        "No-Call",
        "Human vocal_Human vocal",
        "Environmental_Environmental",
        "Noise_Noise",
        "Wind",
        "Noise - wind",
        "urban_noise",
        "NOT_BIRD",
        "Ambient Sounds",
        "Silence (nocall)",
        "background-noise",
        "Human non-vocal",
        "00_background",
        "xx_background",
        "thunderstorm",
    ],
)
def test_background_sound_is_no_species(label):
    assert label_fault(label) == f"background sound, no species: the label {label!r}"


@pytest.mark.parametrize(
    "label",
    [
        "unknown",
        "Unknown_Unknown",
        "Unidentified bird",
        "unknown species",
        "Mystery mystery",
        "Parus sp.",
        "bird sp",
        "Sylvia spp",
        "gull sp.",
        "Parus cf. major",
        "Parus major?",
        "???",
        "-",
        "Other",
        "other birds",
        "misc",
        "nan",
        "None",
        "null",
        "N/A",
        "Negative",
        "Aves",
        "Sonus naturalis",
        "Larus species",
        "Gull (sp)",
        "Larus sp._Gull",
        "Larus (cf.) argentatus",
        "Larus cf argentatus",
        "Larus ?argentatus",
        "Parus major (?)",
        "unidentified gull",
        "Unknown-A",
        "possible Parus major",
        "hybrid",
        "train",
        "sounds",
        "New Folder (2)",
    ],
)
def test_what_is_not_known_is_no_species(label):
    assert label_fault(label) == f"the label {label!r} names no species"


@pytest.mark.parametrize(
    "label",
    [
        "A,B",
        "Parus niger_Black Tit,Alauda alba_White Lark",
        "Turdus merula, Parus major",
        "Corvus corax/corone",
        "Robin; Wren",
        "robin|wren",
        "robin+wren",
        "wren & robin",
        "robin, wren",
        "robin and wren",
        "A + B",
        "Turdus merula & Parus major",
        "Turdus merula, Parus major",
        "Turdus merula, robin, wren",
        "Turdus merula + robin",
    ],
)
def test_a_list_of_species_is_no_species(label):
    assert label_fault(label, {"robin", "wren"}) == f"the label {label!r} names several species"


@pytest.mark.parametrize("label", ["-Parus niger_Black Tit", "- Noise", "–Parus niger"])
def test_what_is_not_the_species_is_no_species(label):
    assert "begins with a dash" in label_fault(label)


@pytest.mark.parametrize(
    "label",
    [
        "NA",
        "007",
        "1234",
        "abethr1",
        "Otus scops",
        "Grus grus",
        "Noisy Miner",
        "Manorina melanocephala_Noisy Miner",
        "Rain Quail",
        "Thrush, Song",
        "Screech-Owl, Eastern",
        "Night-Heron, Black-crowned",
        "Scrub-Jay, California",
        "Great Tit, Parus major",
        "Turdus merula, Common Blackbird",
        "Warbler, Yellow-rumped (Myrtle)",
        "Passer domesticus (Linnaeus, 1758)",
        "Black-headed Gull",
        "Windhover",
        "Parus niger_Black Tit",
        "Spix's Macaw",
        "Gunnison Grouse",
        "夜鷹",
        "$$",
        "$x_1$",
        "X",
        "Anas acuta x crecca",
        "Black & White Warbler",
        "Black-and-white Warbler",
        "Turdus merula merula",
        "Motacilla flava ssp. thunbergi",
        "Unicolored Blackbird",
        "Rainbow Lorikeet",
        "class_0",
        "sp_1",
        "Gr?nfink",
    ],
)
def test_names_of_species_are_kept(label):
    assert label_fault(label, {"robin", "wren"}) == ""


def test_a_training_folder_of_birdnet(tmp_path):
    species = ["Parus niger_Black Tit", "Alauda alba_White Lark"]
    others = ["Noise", "nocall", "Other", "-Parus niger_Black Tit", f"{species[0]},{species[1]}"]
    for number, name in enumerate([*species, *others]):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"r{number}.wav").write_bytes(b"RIFF    WAVE" + bytes([number]))
    corpus = open_corpus(tmp_path, progress=False)
    assert sorted(corpus.manifest["species"]) == sorted(species)
    assert sorted(corpus.left_out["species"]) == sorted(others)
    assert (corpus.left_out["reason"] != "").all()
