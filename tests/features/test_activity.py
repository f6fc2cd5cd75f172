"""Windows where the bird sings, silence where it does not; the fast pass against the plain way."""

from dataclasses import replace

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from sound_files import noise, recording, song, write

from birdnb.config import AudioSettings
from birdnb.features.activity import (
    LOWEST_HZ,
    Coarse,
    coarse_activity,
    coarse_frame,
    find_silence,
    find_windows,
)
from birdnb.features.decoders import AudioError
from birdnb.features.extract import extract
from birdnb.files import ROOT

AUDIO = AudioSettings()
FRAMES_PER_SECOND = AUDIO.sample_rate / AUDIO.hop_length


def coarse_of(sound, sample_rate=22050):
    return coarse_activity([sound], sample_rate)


def starts_of(sound, sample_rate=22050, audio=AUDIO):
    return [
        frame / FRAMES_PER_SECOND
        for frame in find_windows(coarse_of(sound, sample_rate), len(sound) / sample_rate, audio)
    ]


def scene(rng, sample_rate, colour):
    """Make a recording with one song at a known place: (sound, onset, length).

    With steady noise, clicks and a slow gust of wind.
    """
    seconds, length = rng.uniform(6, 30), rng.uniform(0.4, 3.0)
    onset = rng.uniform(0, seconds - length)
    low = rng.uniform(800, 5000 if sample_rate > 16000 else 2500)
    samples = round(seconds * sample_rate)
    sound = rng.standard_normal(samples)
    if colour == "wind":
        sound = signal.lfilter([1], [1, -0.97], sound) * (
            1 + 2 * np.exp(-0.5 * ((np.arange(samples) / sample_rate - 3) / 1.0) ** 2)
        )
    sound = 0.01 * sound / sound.std()
    sung = song(length, sample_rate, low, low * rng.uniform(1.1, 1.6))
    first = round(onset * sample_rate)
    sung = sung[: samples - first]
    sound[first : first + len(sung)] += rng.uniform(1, 10) * 0.02 * sung  # noise is 0.01
    for click in rng.integers(0, samples - 20, 5):
        sound[click : click + 20] += rng.uniform(0.2, 0.6) * rng.standard_normal(20)
    return sound.astype(np.float32), onset, length


def test_windows_are_chosen_above_500_hz_as_notebook_01_says_of_deep_voices():
    text = (ROOT / "notebooks" / "01_lms_pipeline.ipynb").read_text(encoding="utf-8")
    assert f"chosen by what is heard above {LOWEST_HZ:.0f} Hz in any profile" in text
    sound = np.random.default_rng(0).normal(0, 0.001, 30 * 22050)
    boom = np.sin(2 * np.pi * 150 * np.arange(22050) / 22050) * signal.windows.hann(22050)
    sound[5 * 22050 : 6 * 22050] += 0.5 * boom
    sound[20 * 22050 : 21 * 22050] += 0.05 * song(1.0, 22050, 2000, 3000)[:22050]
    start = starts_of(sound.astype(np.float32), audio=replace(AUDIO, high_pass_hz=100.0))[0]
    assert start <= 20 <= 21 <= start + AUDIO.clip_seconds


@pytest.mark.parametrize("colour", ["white", "wind"])
@pytest.mark.parametrize("sample_rate", [16000, 22050, 44100])
def test_the_best_window_holds_the_song(colour, sample_rate):
    rng = np.random.default_rng(7)
    found = []
    for _ in range(25):
        sound, onset, length = scene(rng, sample_rate, colour)
        start = starts_of(sound, sample_rate)[0]
        heard = min(start + AUDIO.clip_seconds, onset + length) - max(start, onset)
        found.append(heard >= 0.9 * length)
    assert np.mean(found) >= 0.95


def test_the_windows_hold_every_song_best_first():
    sound = noise(30.0)
    for onset, level in [(3.0, 0.05), (13.0, 0.5), (24.0, 0.15)]:
        first = round(onset * 22050)
        sound[first : first + 44100] += level * song(2.0)
    starts = starts_of(sound)
    assert len(starts) == 3
    for onset in (3.0, 13.0, 24.0):
        assert any(start <= onset + 0.1 and onset + 1.9 <= start + 4.0 for start in starts)


def test_a_song_is_centred_in_its_window():
    start = starts_of(recording(20.0, 9.0, 1.0))[0]
    assert start + 2.0 == pytest.approx(9.5, abs=0.4)


def test_one_song_gives_one_window():
    assert len(starts_of(recording(30.0, 9.0, 1.0))) == 1


def test_a_song_that_never_stops_is_still_found():
    sound = noise(20.0)
    sound[44100:] += 0.3 * song(18.0)
    assert all(start > 0.5 for start in starts_of(sound)) and len(starts_of(sound)) == 3


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.5, 60.0),
    clip=st.sampled_from([3.0, 4.0, 5.0]),
    wanted=st.integers(1, 8),
    seed=st.integers(0, 1000),
    silent=st.booleans(),
)
def test_windows_lie_inside_and_overlap_by_half_at_most(seconds, clip, wanted, seed, silent):
    audio = AudioSettings(clip_seconds=clip, segments_per_recording=wanted)
    hop = 0.0232
    values = np.random.default_rng(seed).random(max(1, int(seconds / hop))) * (not silent)
    coarse = Coarse(values, np.full(len(values), -50.0), hop)
    windows = find_windows(coarse, seconds, audio)
    assert 1 <= len(windows) <= wanted
    assert windows[0] == 0 or seconds > clip
    ends = [(first * 512 + audio.clip_samples) / 22050 for first in windows]
    assert max(ends) <= max(seconds, clip) + 1e-6
    gaps = np.diff(sorted(windows)) * 512
    assert (gaps >= audio.clip_samples / 2).all()
    silence = find_silence(coarse, seconds, audio)
    if silence is not None:
        assert 0 <= silence / FRAMES_PER_SECOND <= seconds - 1.0 + 1e-6


def test_silence_is_clear_of_the_song():
    sound = recording(30.0, 2.0, 5.0)
    coarse = coarse_of(sound)
    silence = find_silence(coarse, 30.0, AUDIO) / FRAMES_PER_SECOND
    assert silence <= 1.0 or silence >= 7.0


def test_no_silence_where_song_goes_on():
    assert find_silence(coarse_of(noise(20.0) + 0.3 * song(20.0)), 20.0, AUDIO) is None


def test_silence_is_never_where_nothing_was_recorded():
    gated = np.zeros(20 * 22050, np.float32)
    gated[: 5 * 22050] = recording(5.0, 1.0, 3.0)
    assert find_silence(coarse_of(gated), 20.0, AUDIO) / FRAMES_PER_SECOND <= 4.0


def test_blocks_make_no_difference():
    sound = recording(40.0, 22.0, 3.0)
    hop = coarse_frame(22050)[1]
    whole = coarse_of(sound)
    parts = coarse_activity(
        [sound[first : first + 50 * hop] for first in range(0, len(sound), 50 * hop)], 22050
    )
    np.testing.assert_allclose(parts.activity, whole.activity, atol=1e-3)


def plain(path):
    """The plain way: the whole recording by librosa and scipy, LMS (128, T)."""
    waveform, _ = librosa.load(path, sr=22050)
    waveform = signal.sosfilt(signal.butter(4, 500, "highpass", fs=22050, output="sos"), waveform)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=22050, n_fft=2048, hop_length=512, n_mels=128
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)


@pytest.mark.parametrize(
    "sample_rate, suffix",
    [
        (8000, "ogg"),
        (22050, "mp3"),
        (32000, "ogg"),
        (32000, "wav"),
        (44100, "flac"),
        (44100, "mp3"),
        (48000, "ogg"),
        (48000, "mp3"),
    ],
)
@pytest.mark.parametrize("kept", [2**25, 1000])
def test_windows_equal_the_plain_way(tmp_path, sample_rate, suffix, kept):
    sound = recording(16.0, 1.0, 1.5, sample_rate) + recording(16.0, 8.0, 3.0, sample_rate, seed=1)
    path = write(tmp_path / f"a.{suffix}", np.stack([sound, 0.7 * sound], axis=1), sample_rate)
    whole, found = plain(path), extract(path, AUDIO, kept)
    assert (
        found.lms.shape == (len(found.starts), 128, 173)
        and found.sample_rate == sample_rate
        and found.channels == 2
    )
    assert found.seconds == pytest.approx(16.0, abs=0.1)
    for start, lms in zip(found.starts, found.lms, strict=True):
        first = round(start * FRAMES_PER_SECOND)
        expected = whole[:, first : first + 173]
        # below, what single precision leaves of the low notes that the filter takes away
        heard = expected > -75
        np.testing.assert_allclose(lms[heard], expected[heard], atol=0.01)
        np.testing.assert_allclose(np.maximum(lms, -90), np.maximum(expected, -90), atol=0.1)


def test_a_window_at_either_end_equals_the_plain_way(tmp_path):
    audio = AudioSettings(segments_per_recording=8)
    path = write(tmp_path / "a.wav", noise(9.0, 32000) + 0.2 * song(9.0, 32000), 32000)
    whole, found = plain(path), extract(path, audio)
    assert min(found.starts) < 0.5 and max(found.starts) > 4.3
    for start, lms in zip(found.starts, found.lms, strict=True):
        first = round(start * FRAMES_PER_SECOND)
        np.testing.assert_allclose(
            np.maximum(lms, -75), np.maximum(whole[:, first : first + 173], -75), atol=0.01
        )


def test_a_recording_shorter_than_a_clip_is_repeated(tmp_path):
    sound = recording(1.3, 0.2, 1.0)
    found = extract(write(tmp_path / "a.wav", sound, subtype="FLOAT"), AUDIO)
    assert found.lms.shape == (1, 128, 173) and found.starts == [0.0] and found.noise is None
    filtered = signal.sosfilt(signal.butter(4, 500, "highpass", fs=22050, output="sos"), sound)
    repeated = np.resize(filtered, AUDIO.clip_samples)
    power = librosa.feature.melspectrogram(
        y=repeated, sr=22050, n_fft=2048, hop_length=512, n_mels=128
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    np.testing.assert_allclose(np.maximum(found.lms[0], -75), np.maximum(expected, -75), atol=0.01)


def test_below_half_a_second_is_too_short(tmp_path):
    assert extract(write(tmp_path / "a.wav", recording(0.55, 0.0, 0.5)), AUDIO).lms.shape == (
        1,
        128,
        173,
    )
    with pytest.raises(AudioError, match=r"too short: 0\.45 s"):
        extract(write(tmp_path / "b.wav", recording(0.45, 0.0, 0.4)), AUDIO)
