"""Reviewing detections: answers are kept, counted, and can be learned from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
from matplotlib.figure import Figure
from sound_files import recording, write

from birdnb.config import AudioSettings
from birdnb.corpora import open_corpus
from birdnb.explore.listen import Source, stretch
from birdnb.explore.review import (
    achieved_precision,
    answer_by_truth,
    busiest,
    open_questions,
    read_review,
    review,
    write_answer,
    write_labels,
)
from birdnb.features.audio import read_audio
from birdnb.features.lms import log_mel
from birdnb.files import BirdnbError
from birdnb.plots.promises import detections_over_spectrogram
from birdnb.split.sides import sessions

AUDIO = AudioSettings()
COLUMNS = ["recording", "start", "end", "species", "probability"]


@pytest.fixture
def heard():
    rows = [
        ("a.wav", 1.0, 5.0, "robin", 0.9),
        ("a.wav", 3.0, 7.0, "wren", 0.8),
        ("b.wav", 2.0, 6.0, "robin", 0.7),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def sources(tmp_path):
    found = {}
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, recording(10.0, 2.0, 5.0, 32000), 32000)
        found[name] = Source(tmp_path / name)
    return found


def test_answers_are_kept_replaced_and_not_asked_again(heard, tmp_path):
    path = tmp_path / "review.csv"
    assert read_review(path).empty and sorted(open_questions(heard, read_review(path))) == [0, 1, 2]
    write_answer(path, heard.loc[0], "robin")
    write_answer(path, heard.loc[1], "")
    write_answer(path, heard.loc[0], "great tit, maybe")
    found = read_review(path)
    assert found["heard"].tolist() == ["", "great tit, maybe"]
    assert open_questions(heard, found) == [2]
    assert pd.to_datetime(found["reviewed"]).notna().all()


def test_species_are_asked_by_turns(heard):
    many = pd.concat([heard.iloc[[0]].assign(start=float(i), end=i + 4.0) for i in range(9)])
    many = pd.concat([many, heard.iloc[[1]]], ignore_index=True)
    order = many.loc[open_questions(many, read_review_of_nothing()), "species"].tolist()
    assert "wren" in order[:2] and len(order) == 10


def read_review_of_nothing():
    return pd.DataFrame(columns=[*COLUMNS, "heard", "reviewed"])


def test_precision_by_ear_counts_each_recording_alike(heard):
    rows = [("a.wav", i, i + 1.0, "robin", 0.9, "robin") for i in range(3)]
    rows += [("b.wav", 0.0, 1.0, "robin", 0.9, "wren"), ("b.wav", 2.0, 3.0, "wren", 0.9, "")]
    table = achieved_precision(pd.DataFrame(rows, columns=[*COLUMNS, "heard"]))
    table = table.set_index("species")
    assert table.loc["robin", ["reviewed", "right", "precision"]].tolist() == [4, 3, 0.5]
    assert table.loc["wren", ["reviewed", "right", "precision"]].tolist() == [1, 0, 0.0]
    assert table.loc["all", "reviewed"] == 5 and table.loc["robin", "low"] < 0.5
    assert set(table["verdict"]) == {"nothing promised"}


def test_one_recording_settles_no_promise(heard):
    """Three of three right: the interval holds the point, and reaches far below the promise."""
    rows = [("a.wav", i, i + 1.0, "robin", 0.9, "robin") for i in range(3)]
    table = achieved_precision(pd.DataFrame(rows, columns=[*COLUMNS, "heard"]), 0.8)
    assert (table["precision"] == 1).all() and (table["high"] == 1).all()
    assert (table["low"] < 0.3).all() and set(table["verdict"]) == {"not settled by the interval"}


def test_annotations_answer(heard, tmp_path):
    truth = pd.DataFrame(
        [("a.wav", 0.0, 2.0, "robin"), ("a.wav", 1.0, 9.0, "blackbird")],
        columns=["recording", "start", "end", "species"],
    )
    found = answer_by_truth(tmp_path / "review.csv", heard, truth)
    assert found["heard"].tolist() == ["robin", "blackbird", ""]


def test_annotations_answer_nothing_that_was_heard_by_ear(heard, tmp_path):
    path, truth = tmp_path / "review.csv", pd.DataFrame(columns=["recording", "start", "end"])
    elsewhere = heard.loc[0].replace("a.wav", "garden.wav")
    for one, answer in ((heard.loc[0], "robin"), (elsewhere, "wren"), (heard.loc[2], "")):
        write_answer(path, one, answer)
    found = answer_by_truth(path, heard.iloc[:2], truth.assign(species=[]))
    again = answer_by_truth(path, heard.iloc[:2], truth.assign(species=[]))
    pd.testing.assert_frame_equal(found, again)
    answers = {(one.recording, one.species): one.heard for one in found.itertuples()}
    assert answers == {
        ("a.wav", "robin"): "robin", ("a.wav", "wren"): "", ("garden.wav", "robin"): "wren",
        ("b.wav", "robin"): "",
    }  # fmt: skip
    assert (found["reviewed"] == "by annotations").sum() == 1


def test_answers_about_recordings_that_look_like_comments_stay(heard, tmp_path):
    path, names = (
        tmp_path / "review.csv",
        ["#1/a.wav", "site/b.wav", ' #2/"c".wav', "site/d, e.wav"],
    )
    for name in names:
        write_answer(path, heard.loc[0].replace("a.wav", name), "robin")
    assert read_review(path)["recording"].tolist() == [name.strip() for name in names]


def test_recorders_on_one_schedule_keep_their_clips(heard, tmp_path):
    names, sources = ("north/20230512_050000.wav", "south/20230512_050000.wav"), {}
    for level, name in zip((0.1, 0.2), names, strict=True):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, np.full(8000 * 9, level), 8000)
        sources[name] = Source(tmp_path / name)
    answers = [
        {"recording": name, "start": start, "end": start + 4.0, "species": "x", "heard": species}
        for name in names
        for start, species in ((1.0, "дрозд"), (1.0, "синица"), (1.04, "дрозд"))
    ]
    answers = pd.DataFrame([*answers, answers[0] | {"species": "y"}])
    manifest = pd.read_csv(write_labels(tmp_path / "labels", answers, sources))
    assert len(manifest) == manifest["path"].nunique() == manifest["recording_id"].nunique() == 6
    for clip in manifest.itertuples():
        level = 0.1 if clip.locality == names[0] else 0.2
        sound, _ = soundfile.read(tmp_path / "labels" / clip.path)
        np.testing.assert_allclose(sound, level, atol=1e-3)
    with pytest.raises(BirdnbError, match=f"{names[0]} is not among the recordings"):
        write_labels(tmp_path / "labels", answers, {names[1]: sources[names[1]]})


def test_what_was_heard_is_a_corpus_to_learn_from(heard, sources, tmp_path):
    path = tmp_path / "review.csv"
    for index, answer in enumerate(("robin", "a dunnock", "")):
        write_answer(path, heard.loc[index], answer)
    manifest = write_labels(tmp_path / "labels", read_review(path), sources)
    corpus = open_corpus(manifest.parent, progress=False)
    assert sorted(corpus.manifest["species"]) == ["a dunnock", "robin"] and corpus.left_out.empty
    assert sessions(corpus.manifest).nunique() == 1  # both clips are of one recording
    whole, rate = soundfile.read(tmp_path / "a.wav")
    robin = corpus.manifest.set_index("species").loc["robin", "path"]
    clip, clip_rate = soundfile.read(corpus.root / robin)
    assert clip_rate == rate == 32000
    np.testing.assert_allclose(clip, whole[32000 : 5 * 32000], atol=1e-4)


def test_a_stretch_is_what_the_whole_recording_has_there(sources):
    audio = AUDIO
    whole = read_audio(sources["a.wav"].path, audio.sample_rate, audio.high_pass_hz)
    part = stretch(sources["a.wav"], audio, 3.0, 4.0)
    np.testing.assert_allclose(part, whole[3 * 22050 : 7 * 22050], atol=1e-4)


def test_the_busiest_stretch_has_most_species(heard):
    assert busiest(heard, 10) == ("a.wav", 0.0)
    assert busiest(heard.assign(start=[1.0, 3.0, 62.0]), 60) == ("a.wav", 0.0)


def test_a_review_that_was_damaged_is_named(tmp_path):
    path = tmp_path / "review.csv"
    path.write_text("recording,start,end,species,probability,heard\na.wav,x,2,robin,0.5,robin\n")
    with pytest.raises(BirdnbError, match=r"review\.csv: a time or probability is no number"):
        read_review(path)


def test_where_nothing_was_detected_nothing_is_asked(heard, sources, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_HEADLESS", "1")
    box = review(heard.iloc[:0], sources, AUDIO, ["robin"], tmp_path / "review.csv")
    assert "All is reviewed" in box.children[0].value
    lms = log_mel(stretch(sources["a.wav"], AUDIO, 0.0, 10.0), AUDIO)
    nothing = heard.iloc[:0].assign(threshold=[])
    shown, detected = detections_over_spectrogram(lms, AUDIO, 0.0, nothing).axes
    assert len(shown.images) == 1 and not detected.patches


def clicked(box, name):
    buttons = {one.description: one for one in box.children[-1].children if one.description}
    buttons[name].click()


def test_buttons_keep_answers_and_go_on(heard, sources, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_HEADLESS", "0")
    path = tmp_path / "review.csv"
    box = review(heard, sources, AUDIO, ["robin", "wren"], path)
    text, picture, sound, row = box.children
    assert "3 to review" in text.value and len(picture.value) > 5000 and len(sound.value) > 5000
    first = picture.value
    clicked(box, "right")
    assert "2 to review" in text.value and picture.value != first
    clicked(box, "it is ...")  # no name yet: nothing happens
    assert "2 to review" in text.value
    other = next(one for one in row.children if hasattr(one, "placeholder"))
    other.value = "dunnock"
    clicked(box, "it is ...")
    clicked(box, "wrong")
    assert "All is reviewed" in text.value and "3 reviewed, 1 right" in text.value
    found = read_review(path)
    assert sorted(found["heard"] == found["species"]) == [False, False, True]
    assert sorted(found["heard"])[:2] == ["", "dunnock"]
    clicked(box, "back")
    clicked(box, "right")
    assert "3 reviewed, 2 right" in text.value
    again = review(heard, sources, AUDIO, ["robin", "wren"], path)
    assert "All is reviewed" in again.children[0].value


def test_an_answer_that_cannot_be_written_is_said(heard, sources, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_HEADLESS", "0")
    (tmp_path / "file").touch()
    box = review(heard, sources, AUDIO, ["robin", "wren"], tmp_path / "file" / "review.csv")
    clicked(box, "right")
    assert "not written" in box.children[0].value and "file" in box.children[0].value


def test_headless_shows_the_first_question(heard, sources, tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_HEADLESS", "1")
    path = tmp_path / "review.csv"
    assert isinstance(review(heard, sources, AUDIO, ["robin", "wren"], path), Figure)
    assert not path.exists()
