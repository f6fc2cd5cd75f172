"""Tell whether a run's folder still belongs to the training that prepared it."""

from dataclasses import dataclass
from pathlib import Path

from birdnb.files import BirdnbError
from birdnb.training.runs import CONFIG, read_json


@dataclass(frozen=True)
class Claim:
    """The folder of a run, and the key of the configuration that it was prepared for."""

    folder: Path
    key: str | None  # None in a process that writes nothing

    def check(self) -> None:
        """Raise BirdnbError when another study has made the folder its own since."""
        path = self.folder / CONFIG
        if self.key is None or (path.exists() and read_json(path).get("key") == self.key):
            return
        raise BirdnbError(
            f"another study works in {self.folder} (its {CONFIG} has other settings, another seed "
            f"or other recordings now): wait for it and run again, or set BIRDNB_ARTIFACTS to a "
            f"folder for this one"
        )
