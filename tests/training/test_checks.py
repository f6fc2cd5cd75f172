"""What is told before a run begins."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from small_study import AUDIO, settings, small_study, write_study

from birdnb.config import Profile, SplitSettings, override
from birdnb.corpora.corrections import with_corrections
from birdnb.data import open_study
from birdnb.evaluation.predictions import Predictions
from birdnb.files import BirdnbError
from birdnb.training.checks import check_settings, check_weights
from birdnb.training.train import train_run

pytestmark = pytest.mark.usefixtures("scratch")
PROFILE = Profile("tiny", AUDIO, SplitSettings(), {"run": settings(epochs=1)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"freq_mask": 5}, "freq_mask, the widest mask, is 5, and freq_mask_min, the narrowest, 8"),
        ({"time_mask": 19}, "time_mask.* is 19, and time_mask_min"),
        ({"snr_db_min": 31.0}, "snr_db_min, of the loudest noise, is 31, and snr_db_max"),
        ({"segments": 50}, "segments is 50, and segments_per_recording of the profile keeps 3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_before_anything_is_set_aside(changes, said):
    data = small_study()
    folder = train_run(data, "run", settings(epochs=1), progress=False).folder
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(BirdnbError, match=said):
        train_run(data, "run", override(settings(epochs=1), **changes), progress=False)
    assert {path.name for path in folder.iterdir()} == before


def test_masks_of_no_width_and_the_usual_number_of_clips_are_settings_like_any_other():
    check_settings(override(settings(segments=3), freq_mask=0, time_mask=0, snr_db_min=30.0), AUDIO)
    check_settings(settings(segments=3), replace(AUDIO, segments_per_recording=1))
    off = override(settings(), freq_mask=5, specaugment=False, snr_db_min=99.0, noise=False)
    check_settings(off, AUDIO)


@pytest.mark.parametrize("split_is_there", [True, False])
def test_weights_that_learned_from_todays_test_recordings_are_refused(tmp_path, split_is_there):
    root = write_study(tmp_path / "small")
    first = open_study(root, PROFILE, seed=7, progress=False)
    earlier = train_run(first, "run", progress=False).folder
    again = override(settings(epochs=1), pretrained=str(earlier / "best.safetensors"))
    check_weights(first, again)
    others = [open_study(root, PROFILE, seed=8, progress=False)]
    others += [open_study(root, PROFILE, fold=(1, 2), progress=False)]
    if not split_is_there:
        shutil.rmtree(tmp_path / "artifacts" / "splits")
    for data in others:
        learned = set(first.side("train"))
        counts = [len(learned & set(data.side(side))) for side in ("test", "validation")]
        assert counts[0] > 0
        said = f"learned from {counts[0]} of .* and {counts[1]} of .*seed .7. and folds .none"
        with pytest.raises(BirdnbError, match=f"{re.escape(str(earlier))}.*{said}.*other weights"):
            train_run(data, "later", again)
        with pytest.raises(BirdnbError, match=said):
            check_weights(data, override(again, pretrained=str(earlier)))


def test_corrections_that_drop_recordings_leave_weights_usable(tmp_path):
    """The split as it is written knows them still."""
    root = write_study(tmp_path / "small")
    first = open_study(root, PROFILE, seed=7, progress=False)
    dropped = first.side("test")[0]
    label = first.recordings.loc[dropped, "species"]
    table = tmp_path / "corrections.csv"
    table.write_text(f"recording_id,label,decision,species\n{dropped},{label},drop,\n")
    with with_corrections(str(table)):
        earlier = train_run(open_study(root, PROFILE, seed=7, progress=False), "run").folder
    assert dropped not in Predictions.load(earlier / "predictions_test.npz").recording_ids
    check_weights(first, override(settings(epochs=1), pretrained=str(earlier)))


def test_weights_of_another_corpus_may_come_from_any_split(tmp_path):
    data = open_study(write_study(tmp_path / "small"), PROFILE, seed=7, progress=False)
    earlier = train_run(data, "run", progress=False).folder
    other = open_study(write_study(tmp_path / "other"), PROFILE, seed=8, progress=False)
    check_weights(other, override(settings(), pretrained=str(earlier)))
