"""Channels that cancel each other do not cost the song; all others are averaged as ever."""

import numpy as np
import pytest
from scipy import signal
from sound_files import corpus_of, noise, recording, song, write

from birdnb.config import AudioSettings
from birdnb.features.audio import read_audio
from birdnb.features.cache import build_cache
from birdnb.features.extract import extract
from birdnb.features.lms import high_pass

AUDIO = AudioSettings()
RATE = 44_100
SECONDS = 10.0


def hiss(seed, level=0.01):
    return noise(SECONDS, RATE, seed, level)


def sung(level=0.2):
    sound = level * song(SECONDS, RATE)
    sound[: 3 * RATE] = sound[6 * RATE :] = 0.0
    return sound


def narrow():
    sound = 0.2 * song(SECONDS, RATE, 2600.0, 2900.0)
    sound[: 3 * RATE] = sound[6 * RATE :] = 0.0
    return sound


def later(sound, samples):
    return np.concatenate([np.zeros(samples, np.float32), sound])[: len(sound)]


def turned(sound, degrees):
    return np.real(signal.hilbert(sound) * np.exp(1j * np.radians(degrees)))


def wind():
    rumble = signal.lfilter([1], [1, -0.995], np.random.default_rng(0).standard_normal(len(sung())))
    return 0.2 * rumble / rumble.std()


CANCEL = {
    "mirror": [recording(SECONDS, 3.0, 3.0, RATE), -recording(SECONDS, 3.0, 3.0, RATE)],
    "each its own noise": [sung() + hiss(1), -sung() + hiss(2)],
    "not quite as loud": [sung() + hiss(1), -0.8 * sung() + hiss(2)],
    "wind in phase": [sung() + hiss(1) + wind(), -sung() + hiss(2) + wind()],
    "noise in phase": [0.1 * sung() + hiss(1, 0.001), -0.1 * sung() + hiss(1, 0.001)],
    "faint": [0.02 * sung() + hiss(1, 0.001), -0.02 * sung() + hiss(2, 0.001)],
    "half a wave late": [narrow() + hiss(1), later(narrow(), 8) + hiss(2)],
    "170 degrees": [sung() + hiss(1), turned(sung(), 170) + hiss(2)],
    "two and a silent one": [sung() + hiss(1), -sung() + hiss(2), hiss(3)],
    "two of four": [sign * sung() + hiss(seed) for seed, sign in enumerate([1, 1, -1, -1])],
    "nothing but noise": [hiss(1), -hiss(1)],
}
KEEP = {
    "equal": [sung() + hiss(1)] * 2,
    "each its own noise": [sung() + hiss(1), sung() + hiss(2)],
    "one louder": [sung() + hiss(1), 0.3 * sung() + hiss(2)],
    "one dead": [sung() + hiss(1), 0 * sung()],
    "one hisses only": [hiss(1), sung() + hiss(2)],
    "microphones 30 cm apart": [sung() + hiss(1), later(sung(), 39) + hiss(2)],
    "microphones 2 m apart": [sung() + hiss(1), later(sung(), 257) + hiss(2)],
    "an echo": [sung() + hiss(1), later(sung(), 4410) + hiss(2)],
    "the song in part": [sung() + hiss(1), -0.3 * sung() + hiss(2)],
    "120 degrees": [sung() + hiss(1), turned(sung(), 120) + hiss(2)],
    "90 degrees": [sung() + hiss(1), turned(sung(), 90) + hiss(2)],
    "one of four": [sign * sung() + hiss(seed) for seed, sign in enumerate([1, 1, 1, -1])],
    "six": [sung() + hiss(seed) for seed in range(6)],
    "noise": [hiss(1), hiss(2)],
    "the same noise": [hiss(1), hiss(1)],
}


def stored(path, channels):
    return write(path, np.stack(channels, axis=1).astype(np.float32), RATE, subtype="FLOAT")


@pytest.mark.parametrize("case", CANCEL)
@pytest.mark.parametrize("kept", [2**25, 1000])
def test_where_channels_cancel_one_of_them_is_taken(tmp_path, case, kept):
    found = extract(stored(tmp_path / "a.wav", CANCEL[case]), AUDIO, kept)
    assert found.channel is not None and found.channels == len(CANCEL[case])
    alone = write(
        tmp_path / "b.wav", CANCEL[case][found.channel].astype(np.float32), RATE, subtype="FLOAT"
    )
    expected = extract(alone, AUDIO)
    assert expected.starts == found.starts
    np.testing.assert_allclose(np.maximum(found.lms, -75), np.maximum(expected.lms, -75), atol=0.05)


@pytest.mark.parametrize("case", KEEP)
def test_all_others_are_averaged(tmp_path, case):
    path = stored(tmp_path / "a.wav", KEEP[case])
    found = extract(path, AUDIO)
    assert found.channel is None
    mean = np.stack(KEEP[case], axis=1).astype(np.float32).mean(axis=1)
    expected = extract(write(tmp_path / "b.wav", mean, RATE, subtype="FLOAT"), AUDIO)
    assert expected.starts == found.starts
    np.testing.assert_allclose(np.maximum(found.lms, -75), np.maximum(expected.lms, -75), atol=0.05)


def test_the_better_channel_is_taken(tmp_path):
    channels = [-sung() + hiss(1, 0.05), sung() + hiss(2), hiss(3)]
    assert extract(stored(tmp_path / "a.wav", channels), AUDIO).channel == 1


def test_the_ear_hears_what_the_spectrogram_shows(tmp_path):
    channels = CANCEL["each its own noise"]
    rate = AUDIO.sample_rate
    path = write(
        tmp_path / "a.wav", np.stack([c[::2] for c in channels], axis=1), rate, subtype="FLOAT"
    )
    taken = extract(path, AUDIO).channel
    expected = high_pass(channels[taken][::2].astype(np.float32), rate, AUDIO.high_pass_hz)
    np.testing.assert_allclose(read_audio(path), expected, atol=1e-6)


def test_the_index_says_which_channel_was_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    root = tmp_path / "c"
    stored(root / "mirror.wav", CANCEL["mirror"])
    stored(root / "better.wav", [-0.9 * sung() + hiss(1, 0.05), sung() + hiss(2)])
    stored(root / "mean.wav", KEEP["one dead"])
    write(root / "mono.wav", sung() + hiss(1), RATE)
    files = {name: f"{name}.wav" for name in ("mirror", "better", "mean", "mono")}
    index = build_cache(corpus_of(root, files), AUDIO, jobs=1, progress=False).index
    taken = dict(zip(index["recording_id"], index["channel"], strict=True))
    assert taken == {"mirror": "1", "better": "2", "mean": "mean", "mono": "mean"}
