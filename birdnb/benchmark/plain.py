"""The plain way, as a good engineer writes it in a notebook: what the benchmark compares with."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from birdnb.config import AudioSettings

FRAMES = 1024  # of the AST checkpoint, to which clips are padded


def plain_lms(path: Path | str, audio: AudioSettings) -> np.ndarray:
    """LMS (n_mels, T) [dB] of a whole recording, by librosa."""
    import librosa
    from scipy.signal import butter, sosfilt

    sound, rate = librosa.load(path, sr=audio.sample_rate)
    sound = sosfilt(butter(4, audio.high_pass_hz, "highpass", fs=rate, output="sos"), sound).astype(
        np.float32
    )
    power = librosa.feature.melspectrogram(
        y=sound, sr=rate, n_fft=audio.n_fft, hop_length=audio.hop_length, n_mels=audio.n_mels
    )
    return librosa.power_to_db(power, top_db=None)


class PlainDataset(Dataset):
    """A .npy file an item, (128, T) dB; normalised, padded to 1,024 frames and turned."""

    def __init__(self, paths: list[Path], labels: list[int]) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        """Return the item ``index`` as ((1024, 128), label)."""
        lms = np.load(self.paths[item]).astype(np.float32)
        lms = (lms - lms.mean()) / (lms.std() + 1e-6)
        return torch.from_numpy(
            np.pad(lms, ((0, 0), (0, FRAMES - lms.shape[1]))).T.copy()
        ), self.labels[item]


def plain_loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """Shuffled batches from worker processes that stay alive between epochs."""
    return DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def plain_ast(n_classes: int) -> Any:
    """AST base as published, for (B, 1024, 128); fp32."""
    from transformers import ASTConfig, ASTForAudioClassification

    settings: Any = {"num_labels": n_classes}
    return ASTForAudioClassification(ASTConfig(**settings))
