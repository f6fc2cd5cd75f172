"""Our own networks as frozen encoders: what ``embed`` gives of a clip, nothing trained."""

import hashlib
from dataclasses import replace

import numpy as np
import torch

from birdnb.cards import card_of_weights
from birdnb.config import ModelSettings, Profile, key_of
from birdnb.features.lms import log_mel, normalise
from birdnb.files import BirdnbError
from birdnb.models import build_model
from birdnb.models.encoders import Encoded, Encoder

HEADS = ("head.", "backbone.classifier.")
BATCH = 16  # clips worked on at a time


class FrozenNetwork(Encoder):
    """A network of ``birdnb.registry.MODELS`` without its head, on clips of the profile."""

    def __init__(self, settings: ModelSettings, profile: Profile) -> None:
        self.network = settings
        self._audio, self._normalisation = profile.audio, settings.normalisation
        self.sample_rate, self.window_seconds = (
            profile.audio.sample_rate,
            profile.audio.clip_seconds,
        )
        self.high_pass_hz = profile.audio.high_pass_hz
        model = build_model(
            settings.name, 1, profile.audio.n_frames, settings.pretrained, size=settings.size
        )
        self._model = model.eval()
        digest = hashlib.sha256()
        for name, value in sorted(model.state_dict().items()):
            if not name.startswith(HEADS):  # new, and not used
                digest.update(value.contiguous().numpy().tobytes())
        self.key = key_of(digest.hexdigest(), self._audio, self._normalisation)
        card = card_of_weights(settings.name, settings.pretrained)
        assert card is not None  # None: from nothing
        self.card = card

    def encode(self, windows: np.ndarray) -> Encoded:
        """Encode clips (W, window_samples) that are high-passed already."""
        lms = np.stack([log_mel(window, self._audio) for window in windows])  # (W, 128, T) dB
        with torch.inference_mode():
            parts = [
                self._model.embed(normalise(batch, self._normalisation)).float()  # type: ignore[operator]
                for batch in torch.from_numpy(lms).split(BATCH)
            ]
        return Encoded(torch.cat(parts).numpy())


def build_ast(given: str, profile: Profile) -> Encoder:
    """Open AST with the weights ``given``, or else those that the profile's runs start from."""
    return _build("ast", given, profile)


def build_efficientnet(given: str, profile: Profile) -> Encoder:
    """Open EfficientNet-B2 with the weights ``given``, or those the profile's runs start from."""
    return _build("efficientnet_b2", given, profile)


def _build(name: str, given: str, profile: Profile) -> Encoder:
    own = [run.model for run in profile.runs.values() if run.model.name == name]
    settings = own[0] if own else ModelSettings(name=name, pretrained="synthetic")
    if given:
        settings = replace(settings, pretrained={"true": True, "hub": True}.get(given, given))
    if given == "synthetic":  # as the shipped weights learned, whatever the profile trains
        settings = replace(settings, size="tiny", normalisation="noise_floor")
    if settings.pretrained is False:
        raise BirdnbError(
            f"the encoder {name} has no weights: profile {profile.name} trains it from scratch; "
            f"write {name}:synthetic, {name}:true (the hub's) or {name}:PATH"
        )
    return FrozenNetwork(settings, profile)
