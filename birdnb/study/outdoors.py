"""What a chapter does beyond the study's own recordings: promises, and long recordings."""

from abc import ABC, abstractmethod
from pathlib import Path

import pandas as pd

from birdnb.config import Profile
from birdnb.data import StudyData
from birdnb.field.outing import Outing, go_out
from birdnb.field.promise import Promises
from birdnb.field.thresholds import clip_scores, kept_promises, promises_of
from birdnb.files import artifacts_dir
from birdnb.synthetic.dawn import make_dawn
from birdnb.training.runs import whole_run


class Outdoors(ABC):
    """The part of a ``Chapter`` that takes finished runs outside."""

    profile: Profile

    @property
    @abstractmethod
    def datasets(self) -> list[StudyData]:
        """Return the study's data, one or one a fold."""

    def promises(self, run: str, precision: float) -> Promises:
        """Find what a finished run may promise of each species, and keep it beside the run."""
        return promises_of(self._folder(run), precision, self.datasets)

    def kept(self, run: str, promises: Promises) -> pd.DataFrame:
        """Hold promises against the clips of the test side, which had no say in them."""
        return kept_promises(promises, clip_scores(self._folder(run), "test", self.datasets))

    def soundscape(self, sound: str | None, truth: str | None) -> tuple[Path, Path | None]:
        """Return long recordings and their annotations: those given, or a synthesised dawn."""
        if sound is not None:
            return Path(sound), None if truth is None else Path(truth)
        return make_dawn(artifacts_dir() / "corpora" / "dawn")

    def go_out(self, run: str, sound: Path, promised: float, step: float | None = None) -> Outing:
        """Let a run listen to long recordings; tables go into ``field_folder``."""
        folder, out = self._folder(run), self.field_folder
        return go_out(folder, [sound], out, promised, step, jobs=1, datasets=self.datasets)

    @property
    def field_folder(self) -> Path:
        """Return the folder of what was heard in long recordings."""
        return artifacts_dir() / "field" / f"{self.datasets[0].corpus.name}-{self.profile.name}"

    def _folder(self, run: str) -> Path:
        """Return the folder of a run, with folds that of this study's number of them."""
        return whole_run(self.datasets[0], run)
