"""The one place that knows processes and Dask."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from mlff_curate.errors import MissingDependencyError, UsageError, WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_AHEAD = 4
"""Tasks handed out per worker before the first result is taken: bounds memory and keeps workers busy."""
_DASK_PATIENCE = 30
"""Seconds to wait for a Dask scheduler, and for its first worker."""


def map_ordered(
    function: Callable[[_Task], _Result], tasks: Iterable[_Task], *, workers: int = 1, dask: str | None = None
) -> Iterator[_Result]:
    """Apply a function to tasks and yield the results in the order of the tasks.

    Each task runs on one thread wherever it runs, so that its result has the same bits whatever the number of workers.

    Parameters
    ----------
    function, tasks
        Picklable if there is more than one worker.
    workers
        Processes on this machine; 1 means this process.
    dask
        Address of a Dask scheduler to use instead.

    Raises
    ------
    MissingDependencyError
        Dask is asked for and not installed, or its scheduler does not answer.
    UsageError
        Fewer than one worker.
    WorkerError
        A process died: the system killed it for want of memory, or somebody did.
    """
    require_workers(workers)
    if dask is not None:
        yield from _map_dask(function, tasks, dask)
    elif workers == 1:
        for task in tasks:
            with one_thread():
                result = function(task)
            yield result
    else:
        yield from _map_processes(function, tasks, workers)


def require_workers(workers: int) -> None:
    """Refuse fewer than one worker.

    Raises
    ------
    UsageError
        The message has the number.
    """
    if workers < 1:
        raise UsageError(f"must be at least 1, got {workers}", key="--workers")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Let torch use one thread inside, as it does in a worker."""
    return threads(1)


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)


@contextmanager
def interrupts_not_inherited() -> Iterator[None]:
    """Let processes started inside ignore Ctrl-C from their first instruction: the parent ends its workers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _map_processes(function: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int) -> Iterator[_Result]:
    import multiprocessing
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # spawn: torch's and faiss's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[Future[_Result]] = deque()
    try:
        for task in tasks:
            if waiting:
                waiting.append(pool.submit(function, task))
            else:  # the first task starts the workers
                with interrupts_not_inherited():
                    waiting.append(pool.submit(function, task))
            if len(waiting) >= workers * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise WorkerError(
            f"one of {workers} worker processes died before its work was done: out of memory? fewer --workers take less"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _map_dask(function: Callable[[_Task], _Result], tasks: Iterable[_Task], address: str) -> Iterator[_Result]:
    from collections import deque
    from functools import partial

    try:
        from distributed import Client

        connect: Any = Client  # the package has no types
    except ImportError:
        raise MissingDependencyError("Dask is not installed: pip install 'mlff-curate[dask]'", key="--dask") from None
    try:
        client: Any = connect(address, timeout=_DASK_PATIENCE)
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"no Dask scheduler answers at {address} ({error})", key="--dask") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_DASK_PATIENCE)
        except TimeoutError:
            raise MissingDependencyError(f"the Dask scheduler at {address} has no workers", key="--dask") from None
        ahead = max(1, sum(client.nthreads().values())) * _AHEAD
        waiting: deque[object] = deque()
        for task in tasks:
            waiting.append(client.submit(partial(_on_one_thread, function), task, pure=False))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()  # type: ignore[attr-defined]
        while waiting:
            yield waiting.popleft().result()  # type: ignore[attr-defined]


def _on_one_thread(function: Callable[[_Task], _Result], task: _Task) -> _Result:
    with one_thread():
        return function(task)
