"""Share groups out by a plain shuffle, without a look at the species, as benchmarks have done it.

BEANS (Hagiwara et al., https://arxiv.org/abs/2210.12300) does it so for its CBI, by recordist; see
scripts/cbi.py of https://github.com/earthspecies/beans.
"""

import random

import pandas as pd

from birdnb.config import SplitSettings
from birdnb.files import BirdnbError
from birdnb.split.sides import SIDES, groups


def shuffled_sides(
    manifest: pd.DataFrame, settings: SplitSettings, whole: pd.DataFrame
) -> pd.Series:
    """Shuffle the groups with ``settings.shuffle_seed`` and cut them by their number.

    ``whole`` is the corpus's manifest, from which unusable recordings may be missing in
    ``manifest``: the groups come in its order, recordists as they are written there. A recordist
    written in two ways goes where the first way goes. Returns recording_id -> "train", "validation"
    or "test". Raises BirdnbError when a side is left empty.
    """
    by_name = settings.group_by == "recordist"
    name = whole["recordist"] if by_name else groups(whole, settings.group_by)
    order = list(dict.fromkeys(name))
    random.Random(settings.shuffle_seed).shuffle(order)
    shares = (settings.validation_share + settings.test_share, settings.test_share)
    cuts = [int((1 - share) * len(order)) for share in shares]
    side_of = {each: SIDES[sum(place >= cut for cut in cuts)] for place, each in enumerate(order)}
    found = dict(zip(whole["recording_id"], name.map(side_of), strict=True))
    side = manifest["recording_id"].map(found)
    side = side.groupby(groups(manifest, settings.group_by)).transform("first")
    for empty in set(SIDES) - set(side):
        raise BirdnbError(
            f"a shuffle of {len(order)} groups leaves the {empty} side empty: add recordings, or "
            "set shuffle_seed to null in the profile"
        )
    return pd.Series(
        side.to_numpy(), pd.Index(manifest["recording_id"], name="recording_id"), name="side"
    )
