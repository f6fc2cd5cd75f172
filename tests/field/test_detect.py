"""Detections: thresholds, merged neighbours, ranks, clock time; worked by hand."""

import json

import numpy as np
import pytest

from birdnb.evaluation.promises import Threshold
from birdnb.field.detect import clock_time, detections, merged
from birdnb.field.promise import Promises, read_promises
from birdnb.field.scores import Heard
from birdnb.files import BirdnbError

LABELS = ["Parus major", "Turdus merula"]


def heard(probabilities, step=2.0, seconds=None, name="a.wav", begins=""):
    p = np.array(probabilities, np.float32)
    starts = step * np.arange(len(p))
    seconds = seconds or starts[-1] + 4
    return Heard(name, f"/{name}", begins, seconds=seconds, starts=starts, probabilities=p)


def promised(**thresholds):
    names = dict(zip(("parus", "turdus"), LABELS, strict=True))
    return Promises(0.9, 1.0, {names[n]: Threshold(t) for n, t in thresholds.items()})


def test_neighbours_above_the_threshold_are_one_detection():
    p = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.85, 0.15]]
    table = detections([heard(p)], LABELS, promised(parus=0.8, turdus=0.95), 4.0)
    assert table[["start", "end", "species", "windows"]].values.tolist() == [
        [0.0, 6.0, "Parus major", 2],
        [10.0, 14.0, "Parus major", 1],
    ]
    assert table["probability"].tolist() == pytest.approx([0.9, 0.85])
    assert table["threshold"].tolist() == [0.8, 0.8] and table["rank"].isna().all()


def test_without_a_promise_the_surest_are_ranked_and_have_no_threshold():
    p = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.4, 0.6]]
    files = [heard(p, 4.0), heard(p[1:2], 4.0, name="b.wav")]
    table = detections(files, LABELS, Promises(), 4.0, ranked=2)
    assert table["threshold"].isna().all()
    found = table.set_index(["recording", "start", "species"])["rank"].to_dict()
    # windows of blackbird at 4 and 8 s touch and are one stretch
    assert found == {
        ("a.wav", 0.0, "Parus major"): 1,
        ("a.wav", 4.0, "Turdus merula"): 1,
        ("a.wav", 12.0, "Parus major"): 2,
        ("b.wav", 0.0, "Turdus merula"): 2,
    }


def test_digital_silence_is_no_detection_and_nothing_ends_after_the_recording():
    silence = heard([[0.0, 0.0], [0.0, 0.0]])
    short = heard([[0.9, 0.1]], seconds=1.5, name="b.wav")
    table = detections([silence, short], LABELS, Promises(), 4.0)
    assert table[["recording", "end"]].values.tolist() == [["b.wav", 1.5]]
    assert detections([], LABELS, Promises(), 4.0).empty


def test_merging_windows_that_overlap_touch_or_lie_apart():
    starts = np.array([0.0, 2.0, 4.0, 9.0, 13.1])
    assert merged(starts, starts + 4, np.array([1, 0, 1, 1, 1], bool)) == [(0, 2), (3, 3), (4, 4)]


def test_clock_time_goes_past_midnight_and_keeps_the_zone():
    assert clock_time("2023-05-12T23:59:58+02:00", 3.4) == "2023-05-13T00:00:01+02:00"
    assert clock_time("2023-05-12T05:00:00", 61) == "2023-05-12T05:01:01"
    assert clock_time("", 5) == ""


def test_promises_are_read_from_beside_the_run(tmp_path):
    assert read_promises(tmp_path).of("Parus major").threshold is None
    kept = {"threshold": 0.7, "precision": 0.93, "interval": [0.8, 1.0], "sessions": 9}
    none = {"threshold": None, "sessions": 2, "reason": "2 sessions only"}
    species = {"Parus major": kept, "Turdus merula": none}
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"precision": 0.9, "temperature": 1.2, "species": species}))
    found = read_promises(tmp_path)
    assert found.of("Parus major") == Threshold(0.7, 0.93, (0.8, 1.0), sessions=9)
    assert found.of("Turdus merula").reason == "2 sessions only" and found.temperature == 1.2
    # of folds from before these had a place of their own
    assert read_promises(tmp_path / "folds-of-4") == found
    path.write_text('{"species": {"Parus major": {"threshold": "high"}}}')
    with pytest.raises(BirdnbError, match=r"thresholds\.json is damaged"):
        read_promises(tmp_path)


def test_what_was_heard_is_read_back_and_half_a_file_is_not(tmp_path):
    before = heard([[0.9, 0.1], [0.2, 0.8]], begins="2023-05-12T05:00:00")
    before.save(tmp_path / "a.npz")
    after = Heard.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    assert (after.recording, after.begins, after.seconds) == ("a.wav", before.begins, 6.0)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    assert Heard.load(tmp_path / "a.npz") is None and Heard.load(tmp_path / "b.npz") is None
