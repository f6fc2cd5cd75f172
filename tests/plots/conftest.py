"""What all plots share."""

import matplotlib.pyplot as plt
import pytest

from birdnb.plots.style import style


@pytest.fixture(autouse=True)
def _style():
    style()
    yield
    plt.close("all")
