"""Results come in order, with the same bits whoever computes them, and errors come through whole."""

import functools
import os
import signal

import pytest
import torch
from ase.build import bulk

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.errors import DataError, MissingDependencyError, UsageError, WorkerError
from mlff_curate.parallel import map_ordered, one_thread


def slow_first(number):
    """Later tasks are done first."""
    import time  # noqa: PLC0415

    time.sleep(0.05 if number % 4 == 0 else 0.0)
    return number


def fails_at(bad, number):
    if number == bad:
        raise DataError("cannot be read", file="a.xyz", frame=number, key="forces")
    return number


def is_killed_at(bad, number):
    if number == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads(_):
    return torch.get_num_threads()


def job(work):
    """So that one start of the worker processes serves several questions."""
    kind, argument = work
    return {"slow": slow_first, "threads": threads, "describe": PowerSpectrum([73]).compute}[kind](argument)


def trajectories():
    batches = []
    for seed in range(4):
        frames = [bulk("Ta") * (n, 2, 2) for n in (1, 2, 3)]
        for frame in frames:
            frame.rattle(0.1, seed=seed)
        batches.append(frames)
    return batches


def jobs():
    return [
        *(("slow", i) for i in range(24)),
        *(("threads", 0) for _ in range(4)),
        *(("describe", frames) for frames in trajectories()),
    ]


@pytest.fixture(scope="module")
def scheduler():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def check(results):
    results = list(results)
    assert results[:24] == list(range(24)), "in the order of the tasks"
    assert results[24:28] == [1, 1, 1, 1], "each on one thread"
    for found, frames in zip(results[28:], trajectories(), strict=True):
        with one_thread():
            assert found.tobytes() == PowerSpectrum([73]).compute(frames).tobytes()


def test_this_process_gives_results_in_order_with_one_thread_each():
    check(map_ordered(job, jobs()))


def test_a_process_that_was_killed_is_told_with_what_to_try():
    message = r"^one of 2 worker processes died before its work was done: out of memory\? fewer --workers take less$"
    with pytest.raises(WorkerError, match=message):
        list(map_ordered(functools.partial(is_killed_at, 3), range(40), workers=2))


def test_two_processes_give_the_bits_of_one():
    check(map_ordered(job, jobs(), workers=2))


def test_a_dask_cluster_gives_the_bits_of_one_process(scheduler):
    check(map_ordered(job, jobs(), dask=scheduler))


def whole(error):
    assert type(error) is DataError
    assert str(error) == "a.xyz: frame 5: forces: cannot be read"
    assert (error.file, error.frame, error.key) == ("a.xyz", 5, "forces")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_before_an_error_come_first_and_the_error_comes_whole(workers):
    results = map_ordered(functools.partial(fails_at, 5), range(40), workers=workers)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(DataError, match="cannot be read") as caught:
        next(results)
    whole(caught.value)


def test_an_error_comes_whole_from_dask(scheduler):
    with pytest.raises(DataError, match="cannot be read") as caught:
        list(map_ordered(functools.partial(fails_at, 5), range(40), dask=scheduler))
    whole(caught.value)


@pytest.mark.parametrize("workers", [0, -3])
def test_fewer_than_one_worker_is_wrong_usage(workers):
    with pytest.raises(UsageError, match=rf"--workers: must be at least 1, got {workers}"):
        list(map_ordered(slow_first, [1], workers=workers))


def test_tasks_are_taken_as_they_are_needed():
    """A stream of frames longer than the memory must not be drawn in at once."""
    taken = []

    def stream():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_ordered(slow_first, stream())
    next(results)
    assert len(taken) == 1


def test_dask_takes_a_bounded_number_of_tasks(scheduler):
    taken = []

    def stream():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_ordered(slow_first, stream(), dask=scheduler)
    next(results)
    results.close()
    assert len(taken) <= 20


def test_no_tasks_no_results():
    assert list(map_ordered(slow_first, [])) == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "no-such-host", "foo://127.0.0.1:1", ""])
def test_a_scheduler_that_does_not_answer_is_one_clear_error(monkeypatch, address):
    distributed = pytest.importorskip("distributed")
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda where, timeout: real(where, timeout="1s"))  # noqa: ARG005
    with pytest.raises(MissingDependencyError, match=f"^--dask: no Dask scheduler answers at {address}") as caught:
        list(map_ordered(slow_first, [1], dask=address))
    assert "\n" not in str(caught.value)


def test_dask_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"Dask is not installed: pip install 'mlff-curate\[dask\]'"):
        list(map_ordered(slow_first, [1], dask="tcp://127.0.0.1:9"))


def stop_inside():
    with one_thread():
        words = {1: "one thread"}.get(torch.get_num_threads(), "many threads")
        raise RuntimeError(words)


def test_one_thread_inside_and_as_many_as_before_after():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with pytest.raises(RuntimeError, match="one thread"):
            stop_inside()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_abandoned_stream_leaves_the_thread_count_alone():
    before = torch.get_num_threads()
    results = map_ordered(threads, iter([0, 1]))
    assert next(results) == 1
    assert torch.get_num_threads() == before
    results.close()
    assert torch.get_num_threads() == before
