"""What is told before a run begins."""

from __future__ import annotations

import re
import shutil

import pytest
from small_study import AUDIO, settings, write_study

from birdnb.config import Profile, SplitSettings, override
from birdnb.data import open_study
from birdnb.files import BirdnbError
from birdnb.training.checks import check_weights
from birdnb.training.train import train_run

pytestmark = pytest.mark.usefixtures("scratch")
PROFILE = Profile("tiny", AUDIO, SplitSettings(), {"run": settings(epochs=1)})


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
        said = f"trained on {counts[0]} of .* and {counts[1]} of .*seed .7. and folds .none"
        with pytest.raises(BirdnbError, match=f"{re.escape(str(earlier))}.*{said}.*other weights"):
            train_run(data, "later", again)
        with pytest.raises(BirdnbError, match=said):
            check_weights(data, override(again, pretrained=str(earlier)))


def test_weights_of_another_corpus_may_come_from_any_split(tmp_path):
    data = open_study(write_study(tmp_path / "small"), PROFILE, seed=7, progress=False)
    earlier = train_run(data, "run", progress=False).folder
    other = open_study(write_study(tmp_path / "other"), PROFILE, seed=8, progress=False)
    check_weights(other, override(settings(), pretrained=str(earlier)))
