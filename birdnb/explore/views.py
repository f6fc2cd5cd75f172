"""What the explorers show: plain functions from a choice to a ``View`` of picture, sound and text."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from birdnb.data import StudyData
from birdnb.evaluation.calibration import log_loss
from birdnb.evaluation.ensemble import combine
from birdnb.evaluation.metrics import accuracy, top_confusions
from birdnb.evaluation.predictions import Predictions
from birdnb.explore.listen import (
    blend_waveforms,
    clip_waveform,
    mix_waveforms,
    noise_waveform,
    recording_waveform,
    window_starts,
)
from birdnb.explore.occlusion import occlusion
from birdnb.features.lms import normalise
from birdnb.plots.models import occlusion_map
from birdnb.plots.results import ensemble_weights
from birdnb.plots.sound import COLOURS, augmentation_pairs, draw_lms, percent, pulse, waveform, wrap
from birdnb.registry import FULL
from birdnb.training.augment import add_noise, spec_augment
from birdnb.training.devices import make_accelerator
from birdnb.training.runs import load_model

FACTS = ("common_name", "recordist", "date", "locality", "license", "side")


@dataclass
class View:
    """What an explorer shows: a figure, a waveform to hear (samples,), and a line of HTML; each may
    be missing.
    """

    figure: Figure | None = None
    samples: np.ndarray | None = None
    text: str = ""


class Run(Protocol):
    """What the views need of a run, an ensemble included (``birdnb.training.runs.RunResult`` has
    it).
    """

    labels: list[str]
    val: Predictions
    test: Predictions


class TrainedRun(Run, Protocol):
    """... and, where its network is asked, of a run that was trained."""

    folder: Path
    config: dict


def clear_example(data: StudyData, most: int = 500) -> str:
    """A training recording that shows well how windows are chosen: the one whose song stands out
    most from its quiet.

    Looked for among those with two windows or more and at least a clip's length outside them, if
    there are any; at most ``most`` are read. What stands out is the level [dB] of the loudest half
    percent of the first clip over its median.
    """
    index = data.cache.index.set_index("recording_id").loc[data.side("train")]
    spare = index["seconds"] - data.profile.audio.clip_seconds * (index["segments"] + 1)
    names = list(index.index[(index["segments"] > 1) & (spare >= 0)]) or list(index.index)

    def contrast(name: str) -> float:
        """How far the loudest part of the first clip rises above its median [dB]."""
        median, loudest = np.percentile(
            np.asarray(data.cache.load(name)[0], dtype=np.float32), [50, 99.5]
        )
        return float(loudest - median)

    return str(max(names[:: math.ceil(len(names) / most)], key=contrast))


def cache_error(data: StudyData, recording: str) -> float:
    """The largest difference [dB] between a cached recording and the same computed again from its
    audio file.
    """
    from birdnb.features.extract import extract  # needs the audio libraries

    path = data.cache.index.set_index("recording_id")["path"].loc[recording]
    again = extract(data.corpus.root / path, data.profile.audio).lms
    return float(np.abs(again - data.cache.load(recording)).max())


class Rhythm(NamedTuple):
    """The beat of a recording's first clip, as ``pulse`` finds it."""

    species: str
    recording: str
    lag: float  # [s] from note to note
    height: float  # of its peak in the autocorrelation


def clearest_rhythms(data: StudyData, recordings: Sequence[str], limit: int = 3) -> list[Rhythm]:
    """Find the recordings whose rhythm is clearest, a species once; without a beat, none."""
    found = [
        Rhythm(species_of(data, name), name, *pulse(data.cache.load(name)[0], data.profile.audio))
        for name in recordings
    ]
    best: dict[str, Rhythm] = {}
    for rhythm in sorted((one for one in found if one.height > 0), key=lambda one: -one.height):
        best.setdefault(rhythm.species, rhythm)
    return list(best.values())[:limit]


def recording_view(data: StudyData, recording: str) -> View:
    """A recording: its waveform with the chosen windows, their LMS, the best window to hear, and
    what is known about it.
    """
    audio, row = data.profile.audio, data.table.set_index("recording_id").loc[recording]
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
    return View(figure, clip_waveform(data, recording), "; ".join(known) + ". You hear clip 1.")


def quarantine_view(data: StudyData, number: int) -> View:
    """One recording that was left out and why, ``number`` from 1."""
    row = data.cache.quarantine.iloc[number - 1]
    parts = [
        f"{number} of {len(data.cache.quarantine)}",
        row["path"],
        row["species"],
        f"left out because: {row['reason']}",
    ]
    return View(text="<br>".join(html.escape(str(part)) for part in parts))


def augmentation_view(
    data: StudyData,
    recording: str,
    partner: str,
    noise_from: str | None = None,
    snr_db: float = math.inf,
    share: float = 1.0,
    masks: bool = False,
    bands: int = 15,
    frames: int = 35,
    seed: int = 0,
) -> View:
    """A clip before and after noise at ``snr_db``, masks of these widths, and a blend of ``share``
    of it with ``partner``.

    Steps and their order are those of training. To hear: the same mix of waveforms (masks make no
    sound of their own).
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
    return View(figure, sound, f"Label of the augmented clip: {html.escape(label)}")


def noisy_waveforms(
    data: StudyData, recording: str, snrs_db: Sequence[float | None]
) -> list[np.ndarray]:
    """The best clip of a recording at each ratio [dB] (None: as recorded), with the quiet of the
    first training recording that has some; without any in training, as recorded.
    """
    song = clip_waveform(data, recording)
    quiet = next((name for name in data.side("train") if data.cache.noise(name) is not None), None)
    if quiet is None:
        return [song for _ in snrs_db]
    noise = noise_waveform(data, quiet)
    return [
        song if snr is None else mix_waveforms(song, noise, snr, data.profile.audio)
        for snr in snrs_db
    ]


def agreement(first: Predictions, second: Predictions, names: Sequence[str]) -> pd.Series:
    """How many recordings both runs get right, only one of them, or neither; ``names`` are those of
    the two runs.
    """
    a, b = (part.predicted == part.targets for part in (first, second.align(first.recording_ids)))
    counts = {
        "both right": a & b,
        f"only {names[0]} right": a & ~b,
        f"only {names[1]} right": b & ~a,
        "neither right": ~a & ~b,
    }
    return pd.Series({name: int(those.sum()) for name, those in counts.items()}, name="recordings")


def weight_curve(first: Predictions, second: Predictions, steps: int = 20) -> pd.DataFrame:
    """Accuracy and log loss of two runs' weighted mean: columns weight (of the first), accuracy,
    log_loss.
    """
    parts, rows = [first, second.align(first.recording_ids)], []
    for weight in np.linspace(0, 1, steps + 1):
        mix = combine(parts, [weight, 1 - weight])
        rows.append((weight, accuracy(mix), log_loss(mix)))
    return pd.DataFrame(rows, columns=["weight", "accuracy", "log_loss"])


def ensemble_view(members: Mapping[str, Run], first: str, second: str, weight: float) -> View:
    """Validation accuracy and log loss over the weight of ``first``, and both at ``weight``."""
    a = members[first].val
    b = members[second].val.align(a.recording_ids)
    mix = combine([a, b], [weight, 1 - weight])
    right = int((mix.predicted == mix.targets).sum())
    text = (
        f"validation accuracy <b>{100 * accuracy(mix):.1f} %</b> "
        f"({right} of {len(mix)} recordings), log loss <b>{log_loss(mix):.3f}</b>"
    )
    return View(ensemble_weights(weight_curve(a, b), first, second, weight), text=text)


def confused_recordings(run: Run, pairs: int = 20) -> dict[str, list[str]]:
    """The commonest confusions of the test set in words, each with the recordings behind it."""
    labels, test = np.array(run.labels), run.test
    found = {}
    for row in top_confusions(test, run.labels, pairs).itertuples():
        behind = (labels[test.targets] == row.species) & (labels[test.predicted] == row.taken_for)
        name = f"{row.species} taken for {row.taken_for} ({row.recordings} of {row.of})"
        found[name] = [test.recording_ids[i] for i in np.flatnonzero(behind)]
    return found


def confusion_view(data: StudyData, run: Run, recording: str, model: str = "the model") -> View:
    """A test recording, a training recording of the species it was taken for, and the model's five
    likeliest species.
    """
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
    top = list(np.argsort(-probabilities, kind="stable")[:5][::-1])
    top = (
        top if run.test.targets[i] in top else [int(run.test.targets[i]), *top]
    )  # the truth at the bottom, however unlikely
    colours = [COLOURS[2] if run.labels[c] == truth else COLOURS[1] for c in top]
    axes[2].barh(np.arange(len(top)), 100 * probabilities[top], color=colours)
    axes[2].set_yticks(np.arange(len(top)), [wrap(run.labels[c], 20) for c in top], fontsize=10)
    axes[2].set(xlabel="probability [%]", xlim=(0, 100))
    axes[2].set_title(wrap(f"{model} says (green: the truth)", 34), fontsize=11)
    text = f"{html.escape(truth)} taken for {html.escape(taken)} with {percent(probabilities.max())} ({html.escape(model)})"
    return View(figure, clip_waveform(data, recording), text)


def best_clip(data: StudyData, recording: str) -> torch.Tensor:
    """(1, 128, T) dB: the most active clip of a recording."""
    return torch.from_numpy(np.array(data.cache.load(recording)[:1], dtype=np.float32))


def confused_pairs(data: StudyData, run: Run, limit: int = 4) -> list[dict]:
    """The commonest confusions for ``plots_models.confused_gallery``: of each the recording the
    model was surest about.
    """
    pairs, place = [], {recording: i for i, recording in enumerate(run.test.recording_ids)}
    for recordings in confused_recordings(run, limit).values():
        i = max(
            (place[recording] for recording in recordings),
            key=lambda i: run.test.probabilities[i].max(),
        )
        truth, taken = run.labels[run.test.targets[i]], run.labels[run.test.predicted[i]]
        lms, typical = (
            data.cache.load(name)[0]
            for name in (run.test.recording_ids[i], typical_recording(data, taken))
        )
        share = float(run.test.probabilities[i].max())
        pairs.append(
            {
                "truth": truth,
                "predicted": taken,
                "probability": share,
                "lms": lms,
                "typical": typical,
            }
        )
    return pairs


def test_embeddings(data: StudyData, run: TrainedRun) -> tuple[np.ndarray, list[str]]:
    """A network's pooled features of the test recordings (R, D), means over their clips, and their
    species.
    """
    device = make_accelerator().device
    model, clips = load_model(run.folder).to(device), data.clips("test")
    kind = run.config["settings"]["model"]["normalisation"]
    with torch.no_grad():
        embed = cast(Callable[[torch.Tensor], torch.Tensor], model.embed)
        parts = [
            embed(normalise(lms.to(device).float(), kind)).cpu() for lms in clips.lms.split(64)
        ]
    features = torch.cat(parts).float()  # (N, D)
    total = torch.zeros(len(clips.recording_ids), features.shape[1]).index_add(
        0, clips.recording, features
    )
    mean = total / torch.bincount(clips.recording, minlength=len(total))[:, None]  # (R, D)
    return mean.numpy(), [species_of(data, recording) for recording in clips.recording_ids]


def listening_figures(
    data: StudyData, run: TrainedRun, each: int = 2, model: str = "the model"
) -> dict[str, Figure]:
    """Occlusion maps of the test recordings the model was surest about, ``each`` right and wrong, a
    species once.

    The map is that of the species the model (``model`` in the titles) named. Keys are ``right_1``,
    ``wrong_1`` and so on.
    """
    network, kind = (
        load_model(run.folder).to(make_accelerator().device),
        run.config["settings"]["model"]["normalisation"],
    )
    test, shown = run.test, set()
    figures: dict[str, Figure] = {}
    for i in np.argsort(-test.probabilities.max(axis=1), kind="stable"):
        truth, said, recording = (
            run.labels[test.targets[i]],
            run.labels[test.predicted[i]],
            test.recording_ids[i],
        )
        answer = "right" if truth == said else "wrong"
        number = sum(key.startswith(answer) for key in figures) + 1
        if number > each or (answer, truth) in shown:
            continue
        shown.add((answer, truth))
        lms = data.cache.load(recording)[0]
        title = f"Right: {truth}" if answer == "right" else f"Wrong: {truth} taken for {said}"
        title += f", {recording} ({model}: {percent(test.probabilities[i].max())})"
        found = occlusion(network, lms, int(test.predicted[i]), kind)
        figures[f"{answer}_{number}"] = occlusion_map(
            lms, found, data.profile.audio, title, said, model
        )
    return figures


def label_text(shares: np.ndarray | torch.Tensor, labels: list[str]) -> str:
    """A blended label (C,) in words, the larger share first: ``70 % Parus major + 30 % Turdus
    merula``.
    """
    parts = sorted(
        ((float(share), name) for share, name in zip(shares, labels, strict=True) if share > 0.005),
        reverse=True,
    )
    return " + ".join(f"{percent(share)} {name}" for share, name in parts)


def typical_recording(data: StudyData, species: str) -> str:
    """A training recording to compare with: the first of the species."""
    return str(data.table.query("side == 'train' and species == @species")["recording_id"].iloc[0])


def species_of(data: StudyData, recording: str) -> str:
    """The species of a recording."""
    return str(data.table.set_index("recording_id")["species"].loc[recording])
