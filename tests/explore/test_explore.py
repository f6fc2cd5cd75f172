"""The explorers and the functions behind them, without a browser: a moved slider changes them."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.figure import Figure

from birdnb.config import ModelSettings, RunSettings, TrainSettings, load_profile
from birdnb.corpora import open_corpus
from birdnb.data import StudyData
from birdnb.evaluation.predictions import Predictions
from birdnb.explore import examples, listen, network, views
from birdnb.explore.occlusion import occlusion
from birdnb.explore.widgets import (
    browse_recordings,
    explore_augmentation,
    explore_confusions,
    explore_ensemble,
    explorer,
    headless,
)
from birdnb.features.cache import build_cache
from birdnb.features.lms import log_mel, normalise
from birdnb.files import BirdnbError
from birdnb.plots.models import confused_gallery
from birdnb.registry import MODELS
from birdnb.training.augment import add_noise
from birdnb.training.train import train_run

RATE = 22050
SPECIES = {"Parus major": 3000, "Turdus merula": 5500}  # [Hz] of their whistles


def song(hz: float, seconds: float, seed: int) -> np.ndarray:
    """Two seconds of whistles, then hiss."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    return (
        0.3 * np.sin(2 * np.pi * hz * t) * (t < 2) * (t % 0.5 < 0.25)
        + 0.003 * rng.normal(size=len(t))
    ).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two species of four recordings, 12 s each but for one of 2 s, and an empty file."""
    root = tmp_path_factory.mktemp("corpus")
    for name, hz in SPECIES.items():
        (root / name).mkdir()
        for i in range(4):
            soundfile.write(
                root / name / f"{name.split()[0]}{i}.wav", song(hz, 2 if i == 3 else 12, i), RATE
            )
    (root / "Parus major" / "empty.wav").write_bytes(b"")
    profile = load_profile("laptop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIRDNB_ARTIFACTS", str(tmp_path_factory.mktemp("artifacts")))
        corpus = open_corpus(root, progress=False)
        cache = build_cache(corpus, profile.audio, jobs=1, progress=False)
        table = corpus.manifest[
            corpus.manifest["recording_id"].isin(cache.index["recording_id"])
        ].reset_index(drop=True)
        side = ["train", "train", "validation", "test"] * 2
        study = StudyData(
            corpus,
            profile,
            7,
            cache,
            table.assign(session="s", side=side),
            sorted(SPECIES),
            table.head(0),
        )
        yield study


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def run(data):
    """A run that takes the test recording of the second species for the first."""

    def said(side, probabilities):
        ids = data.side(side)
        return Predictions(ids, np.array(probabilities, dtype=np.float32), data.targets(ids))

    return SimpleNamespace(
        labels=data.labels,
        val=said("validation", [[0.8, 0.2], [0.3, 0.7]]),
        test=said("test", [[0.9, 0.1], [0.6, 0.4]]),
    )


@pytest.fixture
def other(run):
    return SimpleNamespace(
        labels=run.labels,
        test=run.test,
        val=replace(run.val, probabilities=np.float32([[0.1, 0.9], [0.45, 0.55]])),
    )


def find(box: widgets.Widget, description: str) -> widgets.Widget:
    return next(w for w in everything(box) if getattr(w, "description", None) == description)


def everything(box: widgets.Widget) -> list[widgets.Widget]:
    return [box, *(w for child in getattr(box, "children", ()) for w in everything(child))]


def shown(box: widgets.Widget) -> tuple[bytes, bytes, str]:
    first = {type(w): w for w in reversed(everything(box))}
    return (
        bytes(first[widgets.Image].value),
        bytes(first[widgets.Audio].value),
        first[widgets.HTML].value,
    )


def title(ax) -> str:
    return (ax.get_title(loc="left") or ax.get_title()).replace("\n", " ")


# --- hearing ---


def test_the_clip_heard_is_the_clip_seen(data):
    for recording in data.table["recording_id"]:
        heard = listen.clip_waveform(data, recording)
        assert heard.shape == (data.profile.audio.clip_samples,)
        seen = data.cache.load(recording)[0].astype(np.float32)
        # its neighbours in the recording are not heard
        difference = np.abs(log_mel(heard, data.profile.audio) - seen)[:, 4:-4]
        assert np.median(difference) < 0.1


def test_the_noise_heard_is_that_of_the_bank(data):
    recording = data.side("train")[0]
    heard = log_mel(listen.noise_waveform(data, recording), data.profile.audio)
    # the second as recorded
    difference = np.abs(heard - data.cache.noise(recording).astype(np.float32))[10:, 4:38]
    assert np.median(difference) < 0.1


def test_ear_and_eye_get_the_same_mix(data):
    audio = data.profile.audio
    rng = np.random.default_rng(9)
    signal, noise = song(3000, 4, 0), rng.normal(size=4 * RATE).astype(np.float32)
    for snr in (0, 10, 25):
        heard = log_mel(listen.mix_waveforms(signal, noise, snr, audio), audio)
        seen = add_noise(
            torch.from_numpy(log_mel(signal, audio))[None],
            torch.from_numpy(log_mel(noise, audio))[None],
            snr,
        )
        assert abs(np.mean(heard - seen[0].numpy())) < 1.0  # phases differ, powers do not
        part = 10 ** (log_mel(listen.mix_waveforms(signal, noise, snr, audio) - signal, audio) / 10)
        ratio = 10 * np.log10(np.mean(10 ** (log_mel(signal, audio) / 10)) / part.mean())
        assert ratio == pytest.approx(snr, abs=0.1)


def test_blend_is_by_loudness():
    loud, faint = np.full(100, 0.5), np.tile([1e-3, -1e-3], 50)
    np.testing.assert_allclose(listen.blend_waveforms(loud, faint, 1.0), 1.0)
    np.testing.assert_allclose(listen.blend_waveforms(loud, faint, 0.75)[:2], [1.0, 0.5], atol=1e-6)


def test_players_are_small_and_play(data):
    noise = np.random.default_rng(0).normal(size=4 * RATE)
    sound = listen.mp3_bytes(noise, RATE)
    assert len(sound) < 60_000 and sound == listen.mp3_bytes(noise, RATE)
    decoded, rate = soundfile.read(io.BytesIO(sound))
    assert rate == RATE and decoded.ndim == 1 and abs(len(decoded) - len(noise)) < 0.1 * RATE
    page = listen.player(noise, RATE)._repr_html_()
    assert "audio/mpeg" in page and len(page) < 80_000
    assert listen.mp3_bytes(np.zeros(RATE), RATE)


@pytest.mark.parametrize(
    ("rate", "heard"), [(4000, 8000), (10000, 11025), (48000, 48000), (96000, 48000)]
)
def test_sound_is_heard_at_any_sample_rate(rate, heard):
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    samples, found = soundfile.read(io.BytesIO(listen.mp3_bytes(tone, rate)))
    assert found == heard and len(samples) / found == pytest.approx(2, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * found / len(samples) == pytest.approx(1000, abs=2)


def test_unknown_recording_and_segment_are_named(data):
    with pytest.raises(BirdnbError, match="no recording 'XC0'"):
        listen.recording_waveform(data, "XC0")
    with pytest.raises(BirdnbError, match="no segment 9"):
        listen.clip_waveform(data, data.side("train")[0], 9)


# --- views ---


def test_recording_view_shows_every_window(data):
    recording = data.side("train")[0]
    view = views.recording_view(data, recording)
    windows = listen.window_starts(data, recording)
    titles = [title(ax) for ax in view.figure.axes]
    assert titles[0] == f"{examples.species_of(data, recording)}: {recording}"
    assert titles[1:] == [f"clip {i + 1}, from {start:.1f} s" for i, start in enumerate(windows)]
    assert view.samples.shape == (data.profile.audio.clip_samples,)
    assert "side: train" in view.text


def test_quarantine_view_names_file_and_reason(data):
    text = views.quarantine_view(data, 1).text
    assert "1 of 1" in text and "empty.wav" in text and "left out because: empty" in text


def test_augmentation_view_follows_training(data):
    a, b = data.side("train")[0], data.side("train")[-1]
    kind = data.profile.runs["phase3_ast_full"].model.normalisation
    view = views.augmentation_view(
        data, a, b, noise_from=a, snr_db=6, share=0.7, masks=True, bands=12, frames=30, seed=3
    )
    before, after = (ax.images[0].get_array() for ax in view.figure.axes[:2])
    clean = normalise(examples.best_clip(data, a), kind)[0].numpy()
    np.testing.assert_allclose(before, clean, atol=1e-5)
    plain = views.augmentation_view(data, a, b, share=1.0)
    np.testing.assert_allclose(plain.figure.axes[1].images[0].get_array(), clean, atol=1e-5)
    np.testing.assert_array_equal(plain.samples, listen.clip_waveform(data, a))
    assert (
        "70 % " + examples.species_of(data, a) in view.text
        and "30 % " + examples.species_of(data, b) in view.text
    )
    masked = (
        views.augmentation_view(data, a, b, masks=True, bands=12, frames=30)
        .figure.axes[1]
        .images[0]
        .get_array()
    )
    flat = np.isclose(masked, np.asarray(clean).mean(), atol=1e-4)
    assert (flat.mean(axis=1) > 0.99).sum() == 12 and (flat.mean(axis=0) > 0.99).sum() == 30
    assert np.abs(after - before).mean() > 0.1


def test_the_clear_example_has_contrast_and_several_windows(data):
    train, index = data.side("train"), data.cache.index
    rise = {
        name: np.ptp(np.percentile(data.cache.load(name)[0].astype(float), [50, 99.5]))
        for name in train
    }
    assert examples.clear_example(data) == max(rise, key=rise.get)  # none has two windows
    faintest = min(rise, key=rise.get)
    several = index.assign(segments=np.where(index["recording_id"] == faintest, 2, 1))
    cache = SimpleNamespace(index=several, load=data.cache.load)
    assert examples.clear_example(replace(data, cache=cache)) == faintest


def test_the_cache_holds_what_the_files_give(data):
    assert examples.cache_error(data, data.side("train")[0]) < 0.1


def test_agreement_counts_each_recording_once(run, other):
    counts = views.agreement(run.val, other.val, ["ast", "b2"])
    assert counts.to_dict() == {
        "both right": 1,
        "only ast right": 1,
        "only b2 right": 0,
        "neither right": 0,
    }


def test_weight_curve_ends_at_the_members(run, other):
    curve = views.weight_curve(run.val, other.val)
    assert curve["weight"].tolist() == pytest.approx(list(np.linspace(0, 1, 21)))
    assert (curve["accuracy"].iloc[0], curve["accuracy"].iloc[-1]) == (0.5, 1.0)
    assert curve["log_loss"].iloc[-1] == pytest.approx(-np.log([0.8, 0.7]).mean(), abs=1e-6)


def test_confused_recordings_and_their_view(data, run):
    wrong = data.side("test")[1]
    assert examples.confused_recordings(run) == {
        "Turdus merula taken for Parus major (1 of 1)": [wrong]
    }
    view = views.confusion_view(data, run, wrong)
    titles = [title(ax) for ax in view.figure.axes]
    assert titles[0] == f"Turdus merula: {wrong}" and titles[1].startswith(
        "for comparison, Parus major: "
    )
    assert [bar.get_width() for bar in view.figure.axes[2].patches] == pytest.approx([40, 60])
    assert view.text == "Turdus merula taken for Parus major with 60 % (the model)"


def test_confused_pairs_feed_the_gallery(data, run):
    (pair,) = examples.confused_pairs(data, run)
    assert (pair["truth"], pair["predicted"]) == ("Turdus merula", "Parus major")
    assert pair["probability"] == pytest.approx(0.6)
    np.testing.assert_array_equal(pair["lms"], data.cache.load(data.side("test")[1])[0])
    np.testing.assert_array_equal(pair["typical"], data.cache.load(data.side("train")[0])[0])
    assert len(confused_gallery([pair], data.profile.audio).axes) == 2


def test_label_in_words():
    assert views.label_text(torch.tensor([0.3, 0.0, 0.7]), ["a", "b", "c"]) == "70 % c + 30 % a"
    assert views.label_text(np.array([0.0, 1.0]), ["a", "b"]) == "100 % b"


class Bands(torch.nn.Module):
    """A network whose features are the mean level of each mel band."""

    def __init__(self, n_classes, n_frames, pretrained=False, *, size="tiny", drop_path=0.0):
        super().__init__()
        self.head = torch.nn.Linear(128, n_classes)

    def layers(self):
        return []

    def embed(self, x):
        return x.mean(dim=2)  # (B, 128, T) -> (B, 128)

    def forward(self, x):
        return self.head(self.embed(x))


@pytest.fixture
def trained(data, run, monkeypatch):
    """A finished run of that network; its answers are those of ``run``."""
    monkeypatch.setitem(MODELS, "bands", Bands)
    model = ModelSettings(name="bands", normalisation="standard", pretrained=False)
    result = train_run(data, "bands", RunSettings(model, TrainSettings(epochs=1)), progress=False)
    return SimpleNamespace(**vars(run), folder=result.folder, config=result.config)


def test_embeddings_are_means_over_a_recordings_clips(data, trained):
    embeddings, species = network.test_embeddings(data, trained)
    assert species == ["Parus major", "Turdus merula"]
    for recording, found in zip(data.side("test"), embeddings, strict=True):
        clips = normalise(torch.from_numpy(data.cache.load(recording)), "standard").numpy()
        np.testing.assert_allclose(found, clips.mean(axis=(0, 2)), atol=1e-4)


def test_listening_figures_show_right_and_wrong(data, trained):
    figures = network.listening_figures(data, trained)
    right, wrong = data.side("test")
    assert {key: title(figure.axes[0]) for key, figure in figures.items()} == {
        "right_1": f"Right: Parus major, {right} (the model: 90 %)",
        "wrong_1": f"Wrong: Turdus merula taken for Parus major, {wrong} (the model: 60 %)",
    }


def test_occlusion_finds_what_a_model_listens_to():
    class Listener(torch.nn.Linear):  # class 1 when there is energy in bands 40-60, frames 50-80
        def forward(self, x):
            level = x[:, 40:60, 50:80].mean(dim=(1, 2))
            return torch.stack([torch.zeros_like(level), level], dim=1)

    lms = np.full((128, 173), -80.0, dtype=np.float32)
    lms[40:60, 50:80] = -20
    found = occlusion(Listener(1, 1).train(), lms, 1, "standard", bands=16, frames=24)
    assert found.shape == (128, 173)
    assert np.unravel_index(found.argmax(), found.shape)[0] in range(36, 64)
    assert found[40:60, 50:80].mean() > 5 * np.abs(found[90:]).max()


# --- explorers ---


@pytest.fixture
def live(monkeypatch):
    monkeypatch.delenv("BIRDNB_HEADLESS", raising=False)


def test_browse_recordings_by_species(data, live):
    box = browse_recordings(data)
    before = shown(box)
    assert before[0].startswith(b"\x89PNG") and before[1]
    find(box, "species").value = "Turdus merula"
    assert find(box, "recording").value.startswith("Turdus")
    after = shown(box)
    assert after[0] != before[0] and after[1] != before[1]
    assert find(box, "left out").max == 1
    assert any("empty.wav" in w.value for w in everything(box) if isinstance(w, widgets.HTML))


def test_augmentation_sliders_change_the_picture(data, live):
    box = explore_augmentation(data)
    before = shown(box)
    for slider, value, changes_sound in (
        ("SNR", 3, True),
        ("SNR", np.inf, True),
        ("lambda", 0.5, True),
        ("frames", 60, False),
        ("draw", 4, False),
    ):
        find(box, slider).value = value
        after = shown(box)
        assert after[0] != before[0], slider
        assert (after[1] != before[1]) == changes_sound, slider
        before = after
    assert not plt.get_fignums()


def test_without_silence_in_training_there_is_no_noise_to_slide(data, live):
    short = data.table["recording_id"].str.contains("3")  # two seconds, all of them song
    quietless = data.table.assign(side=np.where(short, "train", "test"))
    box = explore_augmentation(replace(data, table=quietless))
    assert find(box, "SNR").options == (("no noise", np.inf),)


def test_ensemble_slider_changes_the_accuracy(run, other, live):
    box = explore_ensemble({"ast": run, "b2": other})
    assert find(explore_ensemble({"ast": run, "b2": other}, 0.8), "weight").value == 0.8
    find(box, "weight").value = 0.0
    before = shown(box)
    assert "50.0 %" in before[2] and not before[1]
    find(box, "weight").value = 1.0
    after = shown(box)
    assert "100.0 %" in after[2] and after[0] != before[0]


def test_confusions_are_chosen_by_pair(data, run, live):
    box = explore_confusions(data, run)
    assert find(box, "pair").options == ("Turdus merula taken for Parus major (1 of 1)",)
    assert "with 60 %" in shown(box)[2]
    right = SimpleNamespace(
        **{**vars(run), "test": replace(run.test, probabilities=np.eye(2, dtype=np.float32))}
    )
    assert "No test recording" in explore_confusions(data, right).children[0].value


def test_an_error_is_shown_and_the_next_choice_works(live):
    def view(number: int) -> views.View:
        if number == 2:
            raise BirdnbError("file <gone>; put it back")
        return views.View(plt.figure(), text="fine")

    box = explorer(view, {"number": widgets.IntText(value=1, description="number")})
    find(box, "number").value = 2
    assert shown(box) == (b"", b"", "<b>file &lt;gone&gt;; put it back</b>")
    find(box, "number").value = 3
    assert shown(box)[2] == "fine"


def test_one_member_is_no_ensemble(run, live):
    with pytest.raises(BirdnbError, match="two or more runs"):
        explore_ensemble({"ast": run})


def test_headless_gives_one_closed_picture(data, run, other, monkeypatch):
    monkeypatch.setenv("BIRDNB_HEADLESS", "1")
    members = {"ast": run, "b2": other}
    InteractiveShell.instance()
    with capture_output() as said:
        results = (
            browse_recordings(data),
            explore_augmentation(data),
            explore_ensemble(members),
            explore_confusions(data, run),
        )
    InteractiveShell.clear_instance()
    heard = [output.data["text/html"] for output in said.outputs]
    assert all(isinstance(result, Figure) and result.axes for result in results)
    assert not plt.get_fignums()
    assert len(heard) == 3 and all("<audio" in html and len(html) < 80_000 for html in heard)
    monkeypatch.setenv("BIRDNB_HEADLESS", "0")
    assert not headless()
