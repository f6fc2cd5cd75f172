"""A run of a frozen encoder as a listener, from a corpus to what it says of a window."""

from __future__ import annotations

import numpy as np
from small_corpora import extracted

from birdnb.data import open_study
from birdnb.field.listener import open_listener
from birdnb.field.windows import Batch
from birdnb.models.embeddings import Embedded
from birdnb.models.encoders import open_encoder
from birdnb.models.frozen import pool
from birdnb.synthetic.demo import make_demo
from birdnb.training.train import train_run
from birdnb.training.yardstick import load_frozen


def test_one_of_our_own_networks_listens_as_the_profile_of_its_run_has_it(tmp_path, monkeypatch):
    """Its size and normalisation are the profile's, which the field does not read."""
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    make_demo(tmp_path / "birds", species=3, recordings=8)
    data = open_study(extracted(tmp_path / "birds"), "laptop", progress=False)
    run = train_run(data, "frozen_ast", progress=False)
    listener = open_listener(run.folder)
    encoder = open_encoder("ast", data.profile)
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, (2, encoder.window_samples)).astype(np.float32)
    batch = Batch(np.arange(2.0), np.zeros((2, 128, 5), np.float32), {listener.waves[0]: sound})
    model, choice = load_frozen(run.folder)
    rows = [Embedded(x[None], np.ones(1), np.zeros(0)) for x in encoder.encode(sound).embeddings]
    expected = model.predict_proba(pool(rows, choice))
    np.testing.assert_allclose(listener.score(batch), expected, rtol=1e-4, atol=1e-6)
