"""What holds for all tests."""

import os

import pytest

# they compare numbers in full precision; a GPU's own tests ask for it
os.environ.setdefault("ACCELERATE_USE_CPU", "true")
# a few recordings are no work for processes that import for seconds; their own tests ask for them
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Artifacts and reports of the test's own; torch's threads are as before when it ends."""
    import torch  # takes seconds: tests of the command line do without

    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("BIRDNB_REPORTS", str(tmp_path / "reports"))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
