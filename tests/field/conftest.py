"""A finished run to listen with, trained once on random spectrograms."""

import pytest
from small_study import settings, small_study

from birdnb.evaluation.promises import Threshold
from birdnb.evaluation.refusal import LARGEST, Refusal
from birdnb.field.promise import Promises, write_promises
from birdnb.training.train import train_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The artifacts that hold the run "one": clips of 3 s, three species, a promise for one."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("run")
        patch.setenv("BIRDNB_ARTIFACTS", str(folder))
        run = train_run(small_study(), "one", settings(epochs=2), progress=False)
        promised = {run.labels[0]: Threshold(0.3, 0.95, (0.8, 1.0), sessions=9)}
        weights = run.metrics["weights_sha256"]
        nobody = Refusal(LARGEST, 0.0)  # is refused
        write_promises(run.folder, Promises(0.9, 1.0, promised, weights, refusal=nobody))
        return folder


@pytest.fixture
def listening(small_run, monkeypatch):
    """The artifacts with that run, and no progress bars."""
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(small_run))
    monkeypatch.setenv("TQDM_DISABLE", "1")
