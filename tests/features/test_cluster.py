"""Building the cache on a Dask cluster: as on one machine, also when workers die."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sound_files import corpus_of, noise, recording, write

from birdnb.config import AudioSettings
from birdnb.features.cache import build_cache
from birdnb.files import BirdnbError

pytestmark = pytest.mark.usefixtures("scratch")
AUDIO = AudioSettings()


@pytest.fixture(scope="module")
def cluster():
    """Two workers, processes of their own; a recording may kill one of them, not four."""
    distributed = pytest.importorskip(
        "distributed", reason="dask is not installed: pip install birdnb[dask]"
    )
    import dask

    settings = {"distributed.scheduler.allowed-failures": 0, "logging.distributed": "critical"}
    with dask.config.set(settings), distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=60
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def corpus(tmp_path):
    """Five recordings, of which one is silent, and a text."""
    for seed in range(4):
        write(tmp_path / f"corpus/r{seed}.wav", recording(6.0, seed + 0.5, 1.0, seed=seed))
    write(tmp_path / "corpus/r4.wav", noise(3.0, level=0.0))
    (tmp_path / "corpus/r5.wav").write_text("not a sound")
    return corpus_of(tmp_path / "corpus", {f"r{i}": f"r{i}.wav" for i in range(6)})


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.[nc][ps][yv]")
    }


def build(corpus, **options):
    return build_cache(corpus, AUDIO, progress=False, **options)


def has_extracted():
    return "birdnb.features.extract" in sys.modules


def test_a_cluster_makes_the_same_cache(cluster, corpus, tmp_path, monkeypatch):
    import distributed

    here = build(corpus, jobs=1)
    assert len(here.index) == 4
    monkeypatch.chdir(tmp_path)
    # a relative path means the same folder on the workers
    monkeypatch.setenv("BIRDNB_ARTIFACTS", "elsewhere")
    there = build(corpus, dask=cluster.scheduler_address)
    assert files_of(there.folder) == files_of(here.folder)
    assert there.quarantine.equals(here.quarantine)
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        assert any(client.run(has_extracted).values())


def test_a_recording_that_kills_its_workers_is_tried_here_and_the_others_go_on(cluster, corpus):
    import distributed

    class Poison(distributed.WorkerPlugin):
        """On the workers, also those started anew, one recording ends the process."""

        def setup(self, worker):
            from birdnb.features import extract as module

            real = module.extract
            module.extract = lambda path, audio: (
                os._exit(1) if path.endswith("r2.wav") else real(path, audio)
            )

    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.register_plugin(Poison(), name="poison")
        cache = build(corpus, dask=cluster.scheduler_address)
        client.unregister_worker_plugin("poison")
    assert cache.index["recording_id"].tolist() == ["r0", "r1", "r2", "r3"]


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a path of one process only")
def test_a_folder_that_only_this_machine_sees_is_told(cluster, corpus, monkeypatch):
    """/proc/self/cwd is there for every process, and is a folder of its own for each."""
    monkeypatch.chdir(corpus.root)
    corpus = replace(corpus, root=Path("/proc/self/cwd"))
    with pytest.raises(BirdnbError, match=r"worker tcp://\S+ does not see /proc.*put the corpus"):
        build(corpus, dask=cluster.scheduler_address)


@pytest.fixture
def impatient():
    pytest.importorskip("distributed", reason="dask is not installed: pip install birdnb[dask]")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        yield


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", ""])
def test_no_cluster_there(corpus, impatient, address):
    with pytest.raises(BirdnbError, match=r"no Dask scheduler answers at .*dask scheduler"):
        build(corpus, dask=address)


def test_a_cluster_without_workers(corpus, impatient):
    import distributed

    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=60) as empty,
        pytest.raises(BirdnbError, match="has no workers: start some with `dask worker"),
    ):
        build(corpus, dask=empty.scheduler_address)


def test_without_dask_the_error_says_what_to_install(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BirdnbError, match=r"pip install birdnb\[dask\]"):
        build(corpus, dask="tcp://127.0.0.1:8786")
