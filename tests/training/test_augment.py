"""Augmentation: bounds, ratios and sums checked by their definitions over many draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from birdnb.config import AugmentSettings
from birdnb.features.lms import normalise
from birdnb.files import BirdnbError
from birdnb.registry import AUGMENTATIONS
from birdnb.training.augment import (
    Augment,
    add_noise,
    inject_noise,
    mix_up,
    spec_augment,
    time_shift,
)

EVERYTHING = AugmentSettings(specaugment=True, mixup=True, noise=True, time_shift=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def lms(n, frames=173, seed=0):
    """Clips like song over noise: -70 dB with 5 dB of ripple, a louder stripe in each."""
    x = -70 + 5 * torch.randn(n, 128, frames, generator=seeded(seed))
    x[:, 30:50, 40:90] += 30
    return x


def runs(mask):
    """Lengths of the runs of True in a row."""
    edges = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    return (np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)).tolist()


# SpecAugment


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    frames=st.sampled_from([130, 173, 216]),
    low=st.integers(1, 20),
    more=st.integers(0, 20),
    short=st.integers(1, 30),
    longer=st.integers(0, 30),
)
def test_one_mask_of_each_kind_within_its_widths(seed, frames, low, more, short, longer):
    x = torch.randn(8, 128, frames, generator=seeded(seed))
    masked = spec_augment(
        x, seeded(seed), prob=1.0, freq_mask=(low, low + more), time_mask=(short, short + longer)
    )
    changed = (masked != x).numpy()
    for one, before, after in zip(changed, x, masked, strict=True):
        bands, times = one.all(axis=1), one.all(axis=0)
        (band_width,), (time_width,) = runs(bands), runs(times)
        assert low <= band_width <= low + more
        assert (
            round(short * frames / 173)
            <= time_width
            <= max(1, round((short + longer) * frames / 173))
        )
        assert (one == bands[:, None] | times[None, :]).all()  # nothing else is touched
        torch.testing.assert_close(
            after[torch.from_numpy(one)].unique(), before.mean().reshape(1), rtol=0, atol=1e-6
        )


def test_every_width_and_place_occurs_and_the_share_is_right():
    x = torch.randn(4000, 128, 173, generator=seeded())
    changed = (spec_augment(x, seeded(), prob=0.8) != x).numpy()
    assert changed.any(axis=(1, 2)).mean() == pytest.approx(0.8, abs=0.02)
    widths = [runs(one.all(axis=1))[0] for one in changed if one.any()]
    assert set(widths) == set(range(8, 16))
    assert changed.all(axis=2).any(axis=0).all()  # every band is masked at some time


def test_no_width_is_no_mask():
    x = torch.randn(20, 128, 173, generator=seeded())
    assert torch.equal(spec_augment(x, seeded(), prob=1.0, freq_mask=(0, 0), time_mask=(0, 0)), x)


def test_masks_wider_than_the_spectrogram_are_cut():
    masked = spec_augment(
        torch.randn(3, 128, 10), seeded(), prob=1.0, freq_mask=(200, 300), time_mask=(500, 600)
    )
    assert masked.shape == (3, 128, 10) and torch.isfinite(masked).all()


def test_a_widest_mask_below_the_narrowest_counts():
    x = torch.randn(200, 128, 173, generator=seeded())
    changed = (spec_augment(x, seeded(), prob=1.0, freq_mask=(8, 4), time_mask=(0, 0)) != x).numpy()
    assert {runs(one.all(axis=1))[0] for one in changed} == {4}


# MixUp


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 12), alpha=st.floats(0.1, 4))
def test_shares_stay_1(seed, n, alpha):
    labels = torch.eye(5)[torch.randint(5, (n,), generator=seeded(seed))]
    _, mixed = mix_up(torch.zeros(n, 128, 3), labels, seeded(seed), alpha=alpha)
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(n))
    assert (mixed >= 0).all() and ((mixed > 0).sum(dim=1) <= 2).all()


def test_labels_are_blended_as_the_spectrograms_are():
    labels = torch.eye(16)
    x = labels[:, :, None].expand(16, 16, 4)  # a clip that spells its own label
    mixed, shares = mix_up(x, labels, seeded())
    torch.testing.assert_close(mixed, shares[:, :, None].expand(16, 16, 4))
    assert len(shares.amax(dim=1).unique()) > 10  # a lambda of its own for each sample


def test_lambda_is_beta():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    n, alpha = 20_000, 0.4
    labels = torch.zeros(n, 2)
    labels[:, 0] = 1
    x = torch.arange(n).float()[:, None, None]
    mixed, _ = mix_up(x.expand(n, 1, 1), labels, seeded(), alpha=alpha)
    partner = torch.randperm(n, generator=seeded())
    blend = ((mixed - x[partner]) / (x - x[partner]))[partner != torch.arange(n)].double()
    assert blend.mean().item() == pytest.approx(0.5, abs=0.01)
    assert blend.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


# noise


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), snr=st.floats(3, 30), level=st.floats(-90, -20))
def test_the_ratio_asked_for_is_the_ratio_got(seed, snr, level):
    clip = lms(2, seed=seed)
    noise = level + 4 * torch.randn(2, 128, 173, generator=seeded(seed))
    power, mixed = 10 ** (clip.double() / 10), 10 ** (add_noise(clip, noise, snr).double() / 10)
    added = mixed - power
    ratio = 10 * torch.log10(power.mean(dim=(1, 2)) / added.mean(dim=(1, 2)))
    torch.testing.assert_close(ratio, torch.full((2,), snr).double(), rtol=0, atol=0.5)


def test_added_noise_has_the_shape_of_the_bank():
    clip, noise = torch.full((1, 128, 173), -60.0), torch.full((1, 128, 173), -90.0)
    noise[:, :64] = -70.0  # 20 dB louder below
    # twice the power in all: 10^-6 of noise per bin, 2 x 100/101 of it below
    mixed = add_noise(clip, noise, 0.0)
    below, above = 10 * np.log10(1e-6 * (1 + 200 / 101)), 10 * np.log10(1e-6 * (1 + 2 / 101))
    torch.testing.assert_close(mixed[0, 0, 0].item(), below, rtol=0, atol=1e-3)
    torch.testing.assert_close(mixed[0, 127, 172].item(), above, rtol=0, atol=1e-3)


def test_a_share_of_the_samples_gets_noise_within_the_range():
    clips, bank = lms(600, frames=20), -80 + torch.randn(5, 128, 20, generator=seeded(3))
    mixed = inject_noise(clips, bank.half(), seeded(), prob=0.5, snr_db=(3.0, 30.0))
    touched = (mixed != clips).flatten(1).any(dim=1)
    assert touched.float().mean().item() == pytest.approx(0.5, abs=0.06)
    power, after = 10 ** (clips[touched].double() / 10), 10 ** (mixed[touched].double() / 10)
    ratio = 10 * torch.log10(power.mean(dim=(1, 2)) / (after - power).mean(dim=(1, 2)))
    assert ratio.min() > 2.5 and ratio.max() < 30.5
    assert ratio.min() < 5 and ratio.max() > 28


def test_silent_noise_and_silent_clips_stay_finite():
    silence = torch.full((2, 128, 30), -100.0)
    assert torch.isfinite(add_noise(lms(2, 30), silence, 10.0)).all()
    assert torch.isfinite(add_noise(silence, lms(2, 30), torch.tensor([3.0, 30.0]))).all()


# time shift


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 216))
def test_time_shift_turns_each_sample_round(seed, frames):
    x = torch.arange(frames).float().expand(6, 2, frames)
    shifted = time_shift(x, seeded(seed))
    for one in shifted:
        torch.testing.assert_close(one, torch.roll(x[0], -int(one[0, 0]), dims=1))


def test_time_shifts_differ_between_samples():
    shifted = time_shift(torch.arange(173).float().expand(200, 1, 173), seeded())
    assert len(shifted[:, 0, 0].unique()) > 80


# all together


@pytest.mark.parametrize("kind", ["standard", "noise_floor"])
def test_same_generator_same_batch(kind):
    augment = Augment(EVERYTHING, lms(4, seed=9).half(), 6, kind)
    batch, target = lms(12).half(), torch.arange(12) % 6
    first, again, other = (augment(batch, target, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (12, 128, 173) and first[0].dtype == torch.float32
    torch.testing.assert_close(first[1].sum(dim=1), torch.ones(12))


def test_without_augmentation_it_only_normalises():
    batch, target = lms(5).half(), torch.tensor([0, 2, 1, 1, 0])
    generator = seeded()
    x, labels = Augment(AugmentSettings(), None, 3, "standard")(batch, target, generator)
    assert torch.equal(x, normalise(batch.float(), "standard"))
    assert torch.equal(labels, torch.eye(3)[target])
    assert torch.equal(generator.get_state(), seeded().get_state())  # nothing was drawn


def test_augmentations_by_name_come_in_their_order(monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "louder", lambda x, generator: x + 10)
    monkeypatch.setitem(AUGMENTATIONS, "cut", lambda x, generator: x.clamp(max=-55))
    x, target = lms(3), torch.zeros(3, dtype=torch.long)
    expected = {"louder cut": (x + 10).clamp(max=-55), "cut louder": x.clamp(max=-55) + 10}
    for extra, wanted in expected.items():
        found, _ = Augment(AugmentSettings(extra=extra), None, 2, "standard")(x, target, seeded())
        torch.testing.assert_close(found, normalise(wanted, "standard"))
    with pytest.raises(BirdnbError, match="'quieter': choose one of louder, cut, or add it"):
        AugmentSettings(extra="louder quieter")


@pytest.mark.parametrize("step", [lambda x, g: x[:1], lambda x, g: x[:, :, 1:]])
def test_an_augmentation_that_changes_the_shape_is_named(step, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "cut", step)
    augment = Augment(AugmentSettings(extra="cut"), None, 2, "standard")
    with pytest.raises(BirdnbError, match=r"'cut' made \(.*\) of clips \(3, 128, 173\)"):
        augment(lms(3), torch.zeros(3, dtype=torch.long), seeded())


def test_the_batch_given_is_left_as_it_was():
    batch, target = lms(6), torch.arange(6)
    before = batch.clone()
    Augment(EVERYTHING, lms(3, seed=4), 6, "noise_floor")(batch, target, seeded())
    assert torch.equal(batch, before)


def test_no_noise_without_a_bank():
    only_noise = AugmentSettings(noise=True, noise_prob=1.0)
    for bank in (None, torch.empty(0, 128, 173)):
        x, _ = Augment(only_noise, bank, 2, "standard")(
            lms(3), torch.zeros(3, dtype=torch.long), seeded()
        )
        assert torch.equal(x, normalise(lms(3), "standard"))


def test_mixup_blends_its_share_of_the_batches():
    augment = Augment(AugmentSettings(mixup=True, mixup_prob=0.6), None, 4, "standard")
    batch, target, generator = lms(4, frames=8), torch.arange(4), seeded()
    blended = [
        bool((augment(batch, target, generator)[1].amax(dim=1) < 1).any()) for _ in range(400)
    ]
    # a batch whose permutation moves nobody (1 in 24) shows no blend
    assert np.mean(blended) == pytest.approx(0.6 * 23 / 24, abs=0.07)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_cpu_generator_drives_a_gpu_batch():
    augment = Augment(EVERYTHING, lms(4, seed=9), 6, "noise_floor")
    batch, target = lms(12), torch.arange(12) % 6
    here, there = augment(batch, target, seeded()), augment(batch.cuda(), target.cuda(), seeded())
    torch.testing.assert_close(here[0], there[0].cpu(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(here[1], there[1].cpu())


def test_labels_of_several_species_go_through_as_they_are_and_are_blended():
    shares = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.4, 0.2, 0.4]])
    x = lms(4)
    plain = Augment(AugmentSettings(time_shift=True), None, 3, "standard")
    torch.testing.assert_close(plain(x, shares, seeded())[1], shares)
    numbers = Augment(AugmentSettings(mixup=True, mixup_prob=1.0), None, 3, "standard")
    whole, soft = numbers(x, torch.tensor([0, 2, 1, 0]), seeded()), numbers(x, shares, seeded())
    torch.testing.assert_close(whole[0], soft[0])
    torch.testing.assert_close(soft[1].sum(dim=1), torch.ones(4))
