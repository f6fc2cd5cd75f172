"""Turn a choice into a ``View`` of picture, sound and text: what the explorers show."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from birdnb.corpora.table import credit
from birdnb.data import StudyData
from birdnb.evaluation.calibration import log_loss
from birdnb.evaluation.ensemble import combine
from birdnb.evaluation.metrics import accuracy
from birdnb.evaluation.predictions import Predictions
from birdnb.explore.examples import Run, best_clip, species_of, typical_recording
from birdnb.explore.listen import (
    blend_waveforms,
    clip_waveform,
    mix_waveforms,
    noise_waveform,
    recording_waveform,
    window_starts,
)
from birdnb.features.lms import normalise
from birdnb.plots.results import ensemble_weights
from birdnb.plots.sound import augmentation_pairs, draw_lms, waveform
from birdnb.plots.style import COLOURS, add_credit, percent, wrap
from birdnb.registry import FULL
from birdnb.training.augment import add_noise, spec_augment

FACTS = ("common_name", "recordist", "date", "locality", "license", "side")


@dataclass
class View:
    """A figure, a waveform to hear, and a line of HTML; each may be missing."""

    figure: Figure | None = None
    samples: np.ndarray | None = None  # (samples,)
    text: str = ""


def recording_view(data: StudyData, recording: str) -> View:
    """Show a recording's waveform and clips, the best one to hear, and what is known about it."""
    audio, row = data.profile.audio, data.recordings.loc[recording]
    starts, clips = window_starts(data, recording), data.cache.load(recording)
    figure = plt.figure(figsize=(11, 5), layout="constrained")
    title = f"{row['species']}: {recording}"
    waveform(recording_waveform(data, recording), audio, starts, title, figure.add_subplot(2, 1, 1))
    for i, lms in enumerate(clips):
        ax = figure.add_subplot(2, len(clips), len(clips) + 1 + i)
        draw_lms(ax, lms, audio)
        ax.set(xlabel="time [s]", ylabel="frequency [kHz]" if i == 0 else "")
        ax.set_title(f"clip {i + 1}, from {starts[i]:.1f} s", color=COLOURS[i % len(COLOURS)])
    known = [
        f"{fact.replace('_', ' ')}: {html.escape(str(row[fact]))}"
        for fact in FACTS
        if row.get(fact)
    ]
    _credit(figure, data, recording)
    return View(figure, clip_waveform(data, recording), "; ".join(known) + ". You hear clip 1.")


def doubt_view(data: StudyData, doubt: pd.Series) -> View:
    """Show a recording (row of ``doubtful_labels``) beside one of the species rather suggested."""
    audio, recording, other = data.profile.audio, str(doubt.name), doubt["suggestion"]
    names = {recording: f"{doubt['species']}? {recording}"}
    there = data.table.query("side == 'train' and species == @other")
    if other != doubt["species"] and len(there):
        other_one = typical_recording(data, other)
        names[other_one] = f"for comparison, {other}: {other_one}"
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.3), layout="constrained", squeeze=False)
    for ax, (name, title) in zip(axes[0], names.items(), strict=False):
        draw_lms(ax, data.cache.load(name)[0], audio)
        ax.set(xlabel="time [s]", ylabel="frequency [kHz]")
        ax.set_title(wrap(title, 50), fontsize=11)
    for ax in axes[0][len(names) :]:
        ax.set_axis_off()
    _credit(figure, data, *names)
    text = (
        f"{html.escape(recording)} is filed under <b>{html.escape(doubt['species'])}</b>; "
        f"{doubt['models']} models that did not hear its session give that "
        f"{percent(doubt['self_confidence'])} and rather say <b>{html.escape(other)}</b>"
    )
    return View(figure, clip_waveform(data, recording), text)


def quarantine_view(data: StudyData, number: int) -> View:
    """Show one recording that was left out and why, ``number`` from 1."""
    row = data.cache.quarantine.iloc[number - 1]
    parts = [
        f"{number} of {len(data.cache.quarantine)}",
        row["path"],
        row["species"],
        f"left out because: {row['reason']}",
    ]
    return View(text="<br>".join(html.escape(str(part)) for part in parts))


def augmentation_view(
    data: StudyData, recording: str, partner: str, noise_from: str | None = None,
    snr_db: float = math.inf, share: float = 1.0, masks: bool = False, bands: int = 15,
    frames: int = 35, seed: int = 0,
) -> View:  # fmt: skip
    """Show a clip before and after noise, masks, and a blend of ``share`` of it with ``partner``.

    ``snr_db`` is that of the noise, ``bands`` and ``frames`` are the widths of the masks. Steps
    and their order are those of training. To hear: the same mix of waveforms (masks make no sound
    of their own).
    """
    audio = data.profile.audio
    kind = data.profile.runs[FULL].model.normalisation
    sound, clip = clip_waveform(data, recording), best_clip(data, recording)
    before = normalise(clip, kind)
    if snr_db < math.inf and noise_from is not None:
        clip = add_noise(
            clip, torch.from_numpy(np.array(data.cache.noise(noise_from)))[None], snr_db
        )
        sound = mix_waveforms(sound, noise_waveform(data, noise_from), snr_db, audio)
    after, name = normalise(clip, kind), species_of(data, recording)
    if masks:
        generator = torch.Generator().manual_seed(seed)
        after = spec_augment(
            after, generator, prob=1.0, freq_mask=(bands, bands), time_mask=(frames, frames)
        )
    label = f"{percent(share)} {name}"
    if share < 1:
        after = torch.lerp(normalise(best_clip(data, partner), kind), after, share)
        sound = blend_waveforms(sound, clip_waveform(data, partner), share)
        label += f" + {percent(1 - share)} {species_of(data, partner)}"
    figure = augmentation_pairs(
        [before[0].numpy()], [after[0].numpy()], [f"{name}: {recording}"], audio
    )
    _credit(figure, data, recording, *([partner] if share < 1 else []))
    return View(figure, sound, f"Label of the augmented clip: {html.escape(label)}")


def agreement(first: Predictions, second: Predictions, names: Sequence[str]) -> pd.Series:
    """Count the recordings that both runs get right, only one of them, or neither."""
    a, b = (part.predicted == part.targets for part in (first, second.align(first.recording_ids)))
    counts = {
        "both right": a & b,
        f"only {names[0]} right": a & ~b,
        f"only {names[1]} right": b & ~a,
        "neither right": ~a & ~b,
    }
    return pd.Series({name: int(those.sum()) for name, those in counts.items()}, name="recordings")


def weight_curve(first: Predictions, second: Predictions, steps: int = 20) -> pd.DataFrame:
    """Score two runs' weighted mean: columns weight (of the first), accuracy, log_loss."""
    parts, rows = [first, second.align(first.recording_ids)], []
    for weight in np.linspace(0, 1, steps + 1):
        mix = combine(parts, [weight, 1 - weight])
        rows.append((weight, accuracy(mix), log_loss(mix)))
    return pd.DataFrame(rows, columns=["weight", "accuracy", "log_loss"])


def ensemble_view(members: Mapping[str, Run], first: str, second: str, weight: float) -> View:
    """Show validation accuracy and log loss over the weight of ``first``, and at ``weight``."""
    a = members[first].val
    b = members[second].val.align(a.recording_ids)
    mix = combine([a, b], [weight, 1 - weight])
    right = int((mix.predicted == mix.targets).sum())
    text = (
        f"validation accuracy <b>{100 * accuracy(mix):.1f} %</b> "
        f"({right} of {len(mix)} recordings), log loss <b>{log_loss(mix):.3f}</b>"
    )
    return View(ensemble_weights(weight_curve(a, b), first, second, weight), text=text)


def confusion_view(data: StudyData, run: Run, recording: str, model: str = "the model") -> View:
    """Show a test recording beside one of the species it was taken for, and the model's guesses."""
    audio, i = data.profile.audio, run.test.recording_ids.index(recording)
    probabilities = run.test.probabilities[i]
    truth, taken = run.labels[run.test.targets[i]], run.labels[int(probabilities.argmax())]
    typical = typical_recording(data, taken)
    figure, axes = plt.subplots(
        1, 3, figsize=(12, 3.3), width_ratios=(4, 4, 3), layout="constrained"
    )
    titles = (f"{truth}: {recording}", f"for comparison, {taken}: {typical}")
    for ax, name, title in zip(axes, (recording, typical), titles, strict=False):
        draw_lms(ax, data.cache.load(name)[0], audio)
        ax.set(xlabel="time [s]", ylabel="frequency [kHz]")
        ax.set_title(wrap(title, 38), fontsize=11)
    _draw_guesses(axes[2], probabilities, int(run.test.targets[i]), run.labels)
    axes[2].set_title(wrap(f"{model} says (green: the truth)", 34), fontsize=11)
    _credit(figure, data, recording, typical)
    names = (html.escape(name) for name in (truth, taken, model))
    text = "{} taken for {} with {share} ({})".format(*names, share=percent(probabilities.max()))
    return View(figure, clip_waveform(data, recording), text)


def _credit(figure: Figure, data: StudyData, *recordings: str) -> None:
    """Write below a figure who made the recordings that it shows."""
    add_credit(figure, credit(data.recordings.loc[list(recordings)]))


def _draw_guesses(ax: Axes, probabilities: np.ndarray, truth: int, labels: list[str]) -> None:
    """Draw the five likeliest species; the truth stands at the bottom, however unlikely."""
    top = [int(c) for c in np.argsort(-probabilities, kind="stable")[:5][::-1]]
    top = top if truth in top else [truth, *top]
    colours = [COLOURS[2] if c == truth else COLOURS[1] for c in top]
    ax.barh(np.arange(len(top)), 100 * probabilities[top], color=colours)
    ax.set_yticks(np.arange(len(top)), [wrap(labels[c], 20) for c in top], fontsize=10)
    ax.set(xlabel="probability [%]", xlim=(0, 100))


def label_text(shares: np.ndarray | torch.Tensor, labels: list[str]) -> str:
    """Write a blended label (C,), larger shares first: ``70 % Parus major + 30 % Pica pica``."""
    parts = sorted(
        ((float(share), name) for share, name in zip(shares, labels, strict=True) if share > 0.005),
        reverse=True,
    )
    return " + ".join(f"{percent(share)} {name}" for share, name in parts)
