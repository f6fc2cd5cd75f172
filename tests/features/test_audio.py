"""Decoding, resampling and filtering, against librosa and scipy."""

import shutil

import librosa
import numpy as np
import pytest
import soundfile
from scipy import signal
from sound_files import encode, noise, recording, write

from birdnb.config import AudioSettings
from birdnb.features.activity import coarse_frame
from birdnb.features.audio import Recording, check_sound, read_audio
from birdnb.features.decoders import AudioError
from birdnb.features.extract import extract
from birdnb.features.lms import high_pass


def plain(path, sample_rate=22050, cutoff=500.0):
    waveform, _ = librosa.load(path, sr=sample_rate)
    return signal.sosfilt(
        signal.butter(4, cutoff, "highpass", fs=sample_rate, output="sos"), waveform
    )


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_equals_librosa_and_scipy(tmp_path, sample_rate, suffix):
    path = write(tmp_path / f"a.{suffix}", recording(2.3, 0.5, 1.0, sample_rate), sample_rate)
    ours = read_audio(path)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, plain(path)[: len(ours)], atol=2e-6)
    assert abs(len(ours) - 2.3 * 22050) <= 1


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_compressed_equals_librosa(tmp_path, suffix):
    sound = np.stack([recording(3.0, 1.0, 1.0, 44100), noise(3.0, 44100, seed=1)], axis=1)
    path = write(tmp_path / f"a.{suffix}", sound, 44100)
    ours = read_audio(path)
    np.testing.assert_allclose(ours, plain(path)[: len(ours)], atol=2e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sample_formats_and_channels(tmp_path, subtype, channels):
    sound = np.stack(
        [recording(1.0, 0.2, 0.5, seed=channel) for channel in range(channels)], axis=1
    )
    path = write(tmp_path / "a.wav", sound, subtype=subtype)
    expected = high_pass(sound.mean(axis=1), 22050, 500.0)
    np.testing.assert_allclose(
        read_audio(path), expected, atol=8e-3 if subtype == "PCM_U8" else 1e-4
    )


def test_high_pass_cuts_below_and_keeps_above():
    time = np.arange(22050) / 22050
    # |H|^2 = 1 / (1 + (500 / f)^8), the cutoff prewarped
    for hz, gain in [(100, 0.0016), (500, 0.7071), (3000, 1.0)]:
        out = high_pass(np.sin(2 * np.pi * hz * time).astype(np.float32), 22050, 500.0)
        assert np.sqrt(2 * np.mean(out[5000:] ** 2)) == pytest.approx(gain, abs=0.002)


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 32000, 44100, 44099, 48000, 384000])
def test_a_slice_equals_the_whole(tmp_path, sample_rate):
    path = write(
        tmp_path / "a.wav",
        recording(6.0, 2.0, 3.0, sample_rate) + 0.1,
        sample_rate,
        subtype="FLOAT",
    )
    whole = read_audio(path)
    with Recording(path) as sound:
        for _ in sound.blocks():
            pass
        for first, last in [(0, 900), (30_001, 70_000), (len(whole) - 5000, len(whole))]:
            part = sound.slice(first, last, 22050, 500.0)
            np.testing.assert_allclose(part, whole[first:last], atol=3e-6)
    np.testing.assert_allclose(
        read_audio(path, start=2.0, seconds=1.5), whole[44100 : 44100 + 33075], atol=3e-6
    )


def test_a_slice_beyond_the_recording_is_zero(tmp_path):
    path = write(tmp_path / "a.wav", noise(1.0, level=0.1))
    whole = read_audio(path)
    with Recording(path) as sound:
        for _ in sound.blocks():
            pass
        padded = sound.slice(-1024, 22050 + 500, 22050, 500.0)
    assert len(padded) == 1024 + 22050 + 500
    assert not padded[:1024].any() and not padded[-500:].any()
    np.testing.assert_allclose(padded[1024:-500], whole, atol=1e-6)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_recordings_too_long_for_memory_are_read_again(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", recording(20.0, 3.0, 15.0, 32000), 32000)
    whole = read_audio(path)
    with Recording(path, keep=1000, block=5000) as sound:
        assert sum(len(block) for block in sound.blocks()) == sound.frames
        for first, last in [(0, 3000), (100_000, 190_000), (400_000, 450_000)]:
            part = sound.slice(first, last, 22050, 500.0)
            np.testing.assert_allclose(part[: len(whole) - first], whole[first:last], atol=1e-5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_blocks_are_the_recording(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", 0.01 * recording(5.0, 1.0, 3.0, 44100), 44100)
    with Recording(path, block=7000) as sound:
        blocks = list(sound.blocks())
    assert {len(block) % coarse_frame(44100)[1] for block in blocks[:-1]} == {0}
    np.testing.assert_array_equal(np.concatenate(blocks), soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize(
    "content, called",
    [("wav", "a.mp3"), ("mp3", "a.wav"), ("flac", "a.raw"), ("ogg", "a"), ("wav", "a.GSM")],
)
def test_the_content_decides_not_the_extension(tmp_path, content, called):
    sound = recording(2.0, 0.5, 1.0)
    right = write(tmp_path / f"right.{content}", sound)
    wrong = shutil.copy(right, tmp_path / called)
    np.testing.assert_array_equal(read_audio(wrong), read_audio(right))


@pytest.mark.parametrize(
    "container, codec",
    [("ipod", "aac"), ("asf", "wmav2"), ("3gp", "aac"), ("webm", "libopus"), ("adts", "aac")],
)
def test_other_decoders_read_what_libsndfile_cannot(tmp_path, container, codec):
    sound = np.stack([recording(3.0, 1.0, 1.5, 44100)] * 2, axis=1)
    source = write(tmp_path / "a.wav", sound, 44100)
    path = encode(tmp_path / "a", sound, 44100, container, codec)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(path)
    ours, original = read_audio(path), read_audio(source)
    lag = np.argmax(signal.correlate(ours, original, method="fft")) - (len(original) - 1)
    assert abs(lag) < 2500  # these codecs begin with a little silence
    overlap = min(len(ours) - max(lag, 0), len(original) - max(-lag, 0)) - 100
    assert overlap > 2.8 * 22050
    assert (
        np.corrcoef(ours[max(lag, 0) :][:overlap], original[max(-lag, 0) :][:overlap])[0, 1] > 0.9
    )


def test_a_few_broken_samples_become_zero_many_are_refused(tmp_path):
    sound = recording(2.0, 0.5, 1.0)
    clean = sound.copy()
    for position, value in [(100, np.nan), (20_000, np.inf), (20_001, -np.inf), (30_000, 1e30)]:
        sound[position], clean[position] = value, 0.0
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path), high_pass(clean, 22050, 500.0))
    sound[::500] = np.nan
    with pytest.raises(AudioError, match=r"broken samples: 0\.2% are NaN"):
        read_audio(write(tmp_path / "b.wav", sound, subtype="FLOAT"))


def refused(path):
    with pytest.raises(AudioError) as error:
        read_audio(path)
    return str(error.value)


def test_reasons_a_person_understands(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not a sound\n" * 100)
    write(tmp_path / "header.wav", np.zeros(0, np.float32))
    write(tmp_path / "silent.flac", np.zeros(30_000, np.float32))
    write(tmp_path / "level.wav", np.full(30_000, 0.25, np.float32))
    write(tmp_path / "slow.wav", noise(2.0, 200), 200)
    expected = {
        "empty.wav": "empty: ",
        "text.wav": "cannot be decoded: it is a text file",
        "header.wav": "no samples: ",
        "silent.flac": "silent: ",
        "level.wav": "constant: ",
        "slow.wav": "sample rate: 200 Hz",
        "absent.wav": "cannot be opened: No such file",
    }
    for name, reason in expected.items():
        assert refused(tmp_path / name).startswith(reason), refused(tmp_path / name)
    assert str(tmp_path) not in "".join(refused(tmp_path / name) for name in expected)


@pytest.mark.parametrize(
    "content, reason",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n",
            "Git LFS pointer",
        ),
        (b"<!DOCTYPE html>\n<html><title>404</title></html>", "an HTML page"),
        (b'{"error": "rate limit exceeded"}', "a JSON document"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,a\nother.wav\n#EXT-X-ENDLIST\n",
            "a text file",
        ),
    ],
)
def test_what_is_no_recording_is_called_what_it_is(tmp_path, content, reason):
    write(tmp_path / "other.wav", recording(2.0, 0.5, 1.0))
    (tmp_path / "a.mp3").write_bytes(content)
    assert refused(tmp_path / "a.mp3").startswith("cannot be decoded: it is ")
    assert reason in refused(tmp_path / "a.mp3")


def test_a_missing_decoder_is_named(tmp_path):
    data = bytearray(write(tmp_path / "a.wav", recording(2.0, 0.5, 1.0)).read_bytes())
    data[20:22] = b"\x34\x12"  # a codec that nobody knows
    (tmp_path / "b.wav").write_bytes(data)
    assert "no decoder for the codec none" in refused(tmp_path / "b.wav")
    assert "0x1234" in refused(tmp_path / "b.wav")


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "IMA_ADPCM"])
def test_formats_that_only_go_forwards_are_read(tmp_path, subtype):
    path = write(tmp_path / "a.wav", recording(20.0, 3.0, 15.0, 8000), 8000, subtype=subtype)
    expected = high_pass(soundfile.read(path, dtype="float32")[0], 8000, 500.0)
    np.testing.assert_allclose(read_audio(path, 8000), expected, atol=1e-6)
    with Recording(path, keep=1000) as sound:
        assert sum(len(block) for block in sound.blocks()) == len(expected)
        part = sound.slice(11 * 8000, 15 * 8000, 8000, 500.0)
    np.testing.assert_allclose(part, expected[11 * 8000 : 15 * 8000], atol=1e-5)


def test_too_short_is_told_with_the_length(tmp_path):
    with Recording(write(tmp_path / "a.wav", noise(0.1))) as sound:
        for _ in sound.blocks():
            pass
        with pytest.raises(AudioError, match=r"too short: 0\.10 s, at least 0\.5 s are needed"):
            check_sound(sound, shortest=0.5)


def test_faint_but_real_recordings_are_kept(tmp_path):
    path = write(tmp_path / "a.wav", 0.01 * recording(2.0, 0.5, 1.0), subtype="PCM_24")
    assert np.abs(read_audio(path)).max() > 1e-3


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_how_faint_silence_is_depends_on_how_fine_the_samples_are(tmp_path, subtype):
    """A recorder of 24 bits or floats is often turned down: -67 dB are 7,000 of its steps."""
    sound = recording(9.0, 4.0, 3.0, level=1.0)
    faint = write(tmp_path / "a.wav", 2e-4 * sound / np.abs(sound).max(), subtype=subtype)
    if subtype == "PCM_16":
        assert refused(faint) == "silent: nothing above -66 dB of full scale"
    else:
        windows = extract(faint, AudioSettings(clip_seconds=3.0)).starts
        loud = write(tmp_path / "b.wav", 0.5 * sound / np.abs(sound).max(), subtype=subtype)
        assert windows == extract(loud, AudioSettings(clip_seconds=3.0)).starts
    quieter = write(tmp_path / "c.wav", 2e-6 * sound / np.abs(sound).max(), subtype=subtype)
    assert refused(quieter).startswith("silent: nothing above -")
