"""What the tests of the archive's commands share."""

import pytest
from archive import KEY


@pytest.fixture
def key(monkeypatch):
    """A key of the archive, and no progress bars."""
    monkeypatch.setenv("XENO_CANTO_KEY", KEY)
    monkeypatch.setenv("TQDM_DISABLE", "1")
