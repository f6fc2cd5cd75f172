"""Work over a Dask cluster whose machines all see the same files under the same paths.

Items are handed to Dask directly: joblib's backend for it (1.6) waits for ever once an item has
killed its worker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from birdnb import __version__
from birdnb.files import BirdnbError

PATIENCE = 30.0  # [s] for the scheduler to answer and the first worker to come
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_on_cluster(
    address: str, work: Callable[[Item], Result], items: list[Item], needed: list[Path]
) -> Iterator[tuple[Item, Result | None]]:
    """Do ``work`` on the cluster whose scheduler is at ``address`` ("tcp://host:8786"); items with
    their results, as they come.

    The result is None when an item has killed several workers. Raises BirdnbError when Dask is not
    installed, the cluster does not answer, or a worker lacks birdnb or does not see the files that
    are ``needed``; and what ``work`` raises.
    """
    with _client(address) as client:
        import distributed

        _check_workers(client, needed)
        waiting = dict(zip(client.map(work, items, pure=False), items, strict=True))
        done = distributed.as_completed(
            list(waiting), loop=client.loop, with_results=True, raise_errors=False
        )
        for future, result in done:
            item = waiting.pop(future)
            if future.status == "finished":
                yield item, result
            elif isinstance(result[1], distributed.KilledWorker):
                yield item, None
            else:
                raise result[1]


def is_shared_worker() -> bool:
    """Whether this process is a Dask worker that does several things at once."""
    import distributed

    return distributed.get_worker().state.nthreads > 1


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    """A connection to the cluster, with a worker in it."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise BirdnbError(
            f"the cluster {address} needs Dask, which is not installed: pip install birdnb[dask]"
        ) from error
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:  # refused, timed out; no such kind of address
        raise BirdnbError(f"no Dask scheduler answers at {address!r}: start one with `dask scheduler` and give its "
                          f"address, such as tcp://host:8786 ({error})") from error  # fmt: skip
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise BirdnbError(
                f"the Dask cluster {address} has no workers: start some with `dask worker "
                f"{address}`"
            ) from error
        yield client


def _check_workers(client: Any, needed: list[Path]) -> None:
    """Raise BirdnbError when a worker lacks birdnb, or does not see the files."""
    try:
        answers = client.run(_look_around, [path for path in needed if path.exists()])
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
            raise BirdnbError(f"worker {worker} does not see {unseen[0]}: put the corpus and BIRDNB_ARTIFACTS on a disk that "
                              "all machines share under the same path")  # fmt: skip


def _look_around(needed: list[Path]) -> tuple[str, list[Path]]:
    return __version__, [path for path in needed if not path.exists()]
