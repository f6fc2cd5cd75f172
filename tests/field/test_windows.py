"""The stream of windows: the same spectrograms as in training, however the sound comes in."""

import tracemalloc

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import noise, recording, write

from birdnb.config import AudioSettings
from birdnb.features.audio import Recording, read_audio
from birdnb.features.extract import extract
from birdnb.field.windows import Wave, batches

AUDIO = AudioSettings()
HOP = AUDIO.hop_length / AUDIO.sample_rate


def windows(path, step=2.0, audio=AUDIO):
    with Recording(path) as sound:
        found = list(batches(sound.blocks(), sound.sample_rate, audio, step, size=7))
    return np.concatenate([b.starts for b in found]), np.concatenate([b.lms for b in found])


def close(found, expected):
    """To 0.01 dB; below -70 dB, under the high-pass, stands the rounding of 32-bit samples."""
    np.testing.assert_allclose(np.maximum(found, -70), np.maximum(expected, -70), atol=0.01)


@pytest.mark.parametrize("sample_rate", [22050, 48000, 44100, 16000])
def test_a_window_is_what_training_extracts(tmp_path, sample_rate):
    """The most active windows of the training path, found again in the stream to 0.01 dB."""
    path = write(tmp_path / "r.wav", recording(31.0, 13.0, 6.0, sample_rate), sample_rate)
    trained = extract(path, AUDIO)
    starts, lms = windows(path, step=2 * HOP)
    for start, expected in zip(trained.starts, trained.lms, strict=True):
        place = np.abs(starts - start).argmin()
        assert abs(starts[place] - start) < 1e-6
        close(lms[place], expected)


def test_every_window_is_the_cut_of_librosas_spectrogram(tmp_path):
    path = write(tmp_path / "r.flac", recording(21.3, 5.0, 9.0))
    power = librosa.feature.melspectrogram(
        y=read_audio(path), sr=22050, n_fft=2048, hop_length=512, n_mels=128
    )
    whole = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    starts, lms = windows(path)
    for start, found in zip(starts, lms, strict=True):
        first = round(start / HOP)
        close(found, whole[:, first : first + AUDIO.n_frames])


@settings(deadline=None, max_examples=25)
@given(st.floats(4.0, 14.0), st.floats(0.1, 9.0), st.lists(st.integers(1, 60000), max_size=6))
def test_nothing_is_left_out_however_the_sound_comes_in(seconds, step, cuts):
    sound = noise(seconds)
    at_once = list(batches([sound], 22050, AUDIO, step))
    parts = np.split(sound, sorted(cut for cut in cuts if cut < len(sound)))
    starts = np.concatenate([b.starts for b in batches(parts, 22050, AUDIO, step, size=1)])
    np.testing.assert_array_equal(starts, np.concatenate([b.starts for b in at_once]))
    assert starts[0] == 0 and (np.diff(starts) > 0).all()
    assert np.diff(starts).max(initial=0) <= step + HOP
    assert seconds - (starts[-1] + AUDIO.clip_seconds) < 2 * HOP  # the last one ends with the sound


def test_a_recording_shorter_than_a_clip_is_repeated_as_in_training(tmp_path):
    path = write(tmp_path / "r.wav", recording(1.7, 0.3, 1.0))
    starts, lms = windows(path)
    assert starts.tolist() == [0.0]
    np.testing.assert_allclose(lms, extract(path, AUDIO).lms, atol=0.01)


def test_digital_silence_is_told_from_a_quiet_night():
    sound = np.concatenate([noise(7.5, level=1e-4), np.zeros(187425, np.float32)])
    found = list(batches([sound], 22050, AUDIO, 4.0))
    assert np.concatenate([b.recorded for b in found]).tolist() == [True, True, False, False]


def test_no_sound_gives_no_window(tmp_path):
    path = tmp_path / "r.wav"
    soundfile.write(path, np.zeros(0), 22050)
    with Recording(path) as sound:
        assert not list(batches(sound.blocks(), 22050, AUDIO, 2.0))


@pytest.mark.parametrize("high_pass_hz", [0.0, 500.0])
def test_the_sound_for_encoders_is_the_cut_of_the_whole_recording(tmp_path, high_pass_hz):
    """Three seconds at 48 kHz from the middle of each window, as embeddings are made of."""
    path = write(tmp_path / "r.flac", recording(17.0, 3.0, 9.0, 44100), 44100)
    wave = Wave(48000, 3 * 48000, high_pass_hz)
    with Recording(path) as sound:
        found = list(batches(sound.blocks(), 44100, AUDIO, 2.0, 3, (wave,)))
        starts = np.concatenate([b.starts for b in found])
        for start, piece in zip(
            starts, np.concatenate([b.waves[wave] for b in found]), strict=True
        ):
            first = round((start + 0.5) * 48000)
            expected = sound.slice(first, first + 3 * 48000, 48000, high_pass_hz)
            np.testing.assert_allclose(piece, expected, atol=1e-5)


def test_hours_take_no_more_memory_than_minutes():
    """Twenty minutes are 106 MB of samples and 26 MB of spectrograms."""

    def blocks(count):
        yield from (noise(11.0, seed=number % 3) for number in range(count))

    list(batches(blocks(1), 22050, AUDIO, 4.0, 8))  # what is imported does not count
    tracemalloc.start()
    total = sum(len(batch.starts) for batch in batches(blocks(110), 22050, AUDIO, 4.0, 8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 300 and peak < 30e6
