"""Building the cache on a Dask cluster: as on one machine, also when a recording kills its workers."""

import os
import sys

import pytest
from sound_files import corpus_of, noise, recording, write

from birdnb.config import AudioSettings
from birdnb.features import cluster as cluster_module
from birdnb.features import workers
from birdnb.features.cache import build_cache
from birdnb.files import BirdnbError

AUDIO = AudioSettings()


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("BIRDNB_ARTIFACTS", str(tmp_path / "artifacts"))


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


def build(corpus, jobs=None):
    return build_cache(corpus, AUDIO, jobs=jobs, progress=False)


def test_a_cluster_makes_the_same_cache(cluster, corpus, tmp_path, monkeypatch):
    here = build(corpus, jobs=1)
    assert len(here.index) == 4
    monkeypatch.setenv("BIRDNB_DASK", cluster.scheduler_address)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "_in_processes", None)  # not here
    monkeypatch.setenv(
        "BIRDNB_ARTIFACTS", "elsewhere"
    )  # a relative path means the same folder on the workers
    there = build(corpus)
    assert files_of(there.folder) == files_of(here.folder)
    assert there.quarantine.equals(here.quarantine)


def test_a_recording_that_kills_its_worker_is_tried_here_and_the_others_go_on(
    cluster, corpus, monkeypatch
):
    import distributed

    class Poison(distributed.WorkerPlugin):
        """On the workers, also those started anew, one recording ends the process."""

        def setup(self, worker):
            from birdnb.features import extract as module

            real = module.extract
            module.extract = lambda path, audio: (
                os._exit(1) if path.endswith("r2.wav") else real(path, audio)
            )

    monkeypatch.setenv("BIRDNB_DASK", cluster.scheduler_address)
    tried_here, alone = [], workers._alone
    monkeypatch.setattr(
        workers, "_alone", lambda task: (tried_here.append(task.recording_id), alone(task))[1]
    )
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.register_plugin(Poison(), name="poison")
        cache = build(corpus)
        client.unregister_worker_plugin("poison")
    assert "r2" in tried_here  # perhaps with one that was waiting at the same worker
    assert cache.index["recording_id"].tolist() == ["r0", "r1", "r2", "r3"]


def test_a_corpus_that_only_this_machine_sees_is_told(corpus):
    class Client:
        def run(self, function, paths):
            return {"tcp://far:1": function([path.parent / "no such folder" for path in paths])}

    with pytest.raises(BirdnbError, match=r"worker tcp://far:1 does not see .*put the corpus"):
        cluster_module._check_workers(Client(), [corpus.root])


def test_no_cluster_there(corpus, monkeypatch):
    pytest.importorskip("distributed", reason="dask is not installed: pip install birdnb[dask]")
    monkeypatch.setattr("birdnb.features.cluster.PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        monkeypatch.setenv("BIRDNB_DASK", address)
        with pytest.raises(BirdnbError, match=r"no Dask scheduler answers at .*dask scheduler"):
            build(corpus)


def test_without_dask_the_error_says_what_to_install(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv("BIRDNB_DASK", "tcp://127.0.0.1:8786")
    with pytest.raises(BirdnbError, match=r"pip install birdnb\[dask\]"):
        build(corpus)
