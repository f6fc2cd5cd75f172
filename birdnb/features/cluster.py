"""A Dask cluster whose machines all see the same files under the same paths."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from birdnb import __version__
from birdnb.files import BirdnbError


@contextlib.contextmanager
def cluster(address: str, needed: list[Path]) -> Iterator[Executor]:
    """Give the cluster whose scheduler is at ``address`` ("tcp://host:8786") as a pool of workers.

    joblib's backend for Dask (1.6) waits for ever once a task has killed its worker; the executor
    raises ``distributed.KilledWorker``. Raises BirdnbError when Dask is not installed, the cluster
    does not answer in the time that Dask's configuration gives it, or a worker lacks birdnb or does
    not see the files that are ``needed``.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise BirdnbError(
            f"the cluster {address} needs Dask, which is not installed: pip install birdnb[dask]"
        ) from error
    try:
        client = distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:  # refused, timed out; no such kind of address
        raise BirdnbError(
            f"no Dask scheduler answers at {address!r}: start one with `dask scheduler` and give "
            f"its address, such as tcp://host:8786 ({error})"
        ) from error
    with client:
        _check_workers(client, address, needed)
        with client.get_executor(pure=False) as pool:
            yield pool


def _check_workers(client: Any, address: str, needed: list[Path]) -> None:
    """Raise BirdnbError when no worker comes, one lacks birdnb, or one does not see the files."""
    import dask

    try:
        client.wait_for_workers(1, timeout=dask.config.get("distributed.comm.timeouts.connect"))
        answers = client.run(_look_around, [path for path in needed if path.exists()])
    except TimeoutError as error:
        raise BirdnbError(
            f"the Dask cluster {address} has no workers: start some with `dask worker {address}`"
        ) from error
    except ModuleNotFoundError as error:
        raise BirdnbError(
            f"a worker of the cluster lacks a package ({error}): install birdnb on all its machines"
        ) from error
    for worker, (version, unseen) in answers.items():
        if version != __version__:
            raise BirdnbError(
                f"worker {worker} has birdnb {version}, this machine {__version__}: install the "
                f"same"
            )
        if unseen:
            raise BirdnbError(
                f"worker {worker} does not see {unseen[0]}: put the corpus and BIRDNB_ARTIFACTS on "
                f"a disk that all machines share under the same path"
            )


def _look_around(needed: list[Path]) -> tuple[str, list[Path]]:
    return __version__, [path for path in needed if not path.exists()]
