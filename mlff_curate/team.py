"""Processes that compute together by torch.distributed: started here, by torchrun, or by SLURM's srun.

One process leads: it alone holds the state of the work, asks the questions and gets the answers. The others, the
helpers, hold a copy of a :class:`Service` and answer their share. A question is cut into tasks by whoever asks, and the
answers come back in the order of the tasks: which process gave which leaves no trace in the bits.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import torch
from torch.distributed.rendezvous import rendezvous

from mlff_curate.errors import UsageError, WorkerError
from mlff_curate.parallel import interrupts_not_inherited, require_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from multiprocessing.process import BaseProcess

_MEETING = timedelta(minutes=10)
"""Time that processes have to find each other."""
_ANSWER = timedelta(days=100)
"""Time that helpers wait for a question. That somebody is gone is told by closed connections, not by a clock."""
_STOP = 0
_HEAD = 6
"""Numbers at the head of a question."""
_LETTER = 256
"""Numbers of the first message of a question."""
_LOOPBACK = ("lo", "lo0")
_DTYPES = (torch.float32, torch.float64)


class Service(Protocol):
    """What every process of a team holds a copy of. It is pickled on the way to helpers."""

    def to(self, device: str) -> object:
        """Move to a torch device."""

    def answer(
        self, question: int, state: torch.Tensor, tasks: Sequence[np.ndarray], mine: Sequence[int]
    ) -> list[torch.Tensor]:
        """Answer some of the tasks, each with a vector; the same wherever it runs.

        Parameters
        ----------
        question
            Above 0: what is asked.
        state
            (n,) what the answer depends on besides the service.
        tasks
            All of them, integers.
        mine
            Indices of those to be answered.
        """


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that a launcher started.

    Attributes
    ----------
    rank
        0 leads.
    size
        Processes in all.
    local
        Rank among those on this machine.
    meeting
        Where they find each other, for torch.distributed.
    """

    rank: int
    size: int
    local: int
    meeting: str


def place_in(environment: Mapping[str, str]) -> Place | None:
    """Return where torchrun or srun put this process, or None where neither started several.

    Within a batch script of SLURM, outside srun, the number of tasks is that of the job, and nobody else is there: only
    what srun says of its own step counts.

    Raises
    ------
    UsageError
        What is there makes no sense.
    """
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(environment):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        meeting = "env://"
    elif {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= set(environment):
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        first = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", "localhost"))
        number = int(environment.get("SLURM_JOB_ID", "0")) * 97 + int(environment.get("SLURM_STEP_ID", "0"))
        meeting = f"tcp://{first}:{environment.get('MASTER_PORT') or 20000 + number % 20000}"
    else:
        return None
    try:
        rank, size, local = (int(environment.get(name, "0")) for name in names)
    except ValueError:
        raise UsageError("are set and are no whole numbers", key=", ".join(names)) from None
    if not 0 <= rank < size:
        raise UsageError(f"say {rank} of {size}, which cannot be", key=", ".join(names[:2]))
    return Place(rank, size, local, meeting) if size > 1 else None


def first_host(nodes: str) -> str:
    """Return the first name in SLURM's list of nodes: ``gpu[03-07,9],login`` -> ``gpu03``."""
    found = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    return "localhost" if found is None else found[1] + (found[2] or "")


class Team:
    """A process and its helpers, none by default.

    Parameters
    ----------
    rank, size
        Of this process, and of all.
    device
        Torch device of this process.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu") -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self._service: Service | None = None

    def share(self, service: Service) -> None:
        """Give every process a copy of the service; called by the one that leads.

        Raises
        ------
        WorkerError
            A helper is gone.
        """
        self._meet()
        if self.size > 1:
            with self._watched():
                torch.distributed.broadcast_object_list([service], src=0, device=torch.device("cpu"))
        service.to(self.device)
        self._service = service

    def ask(self, question: int, state: torch.Tensor, tasks: Sequence[np.ndarray], length: int) -> torch.Tensor:
        """Return the answers, (T, length), in the order of T tasks; called by the one that leads.

        Parameters
        ----------
        question
            Above 0.
        state
            (n,) float32 or float64: the type of the answers.
        tasks
            T arrays of integers.
        length
            Of each answer.

        Raises
        ------
        WorkerError
            A helper is gone, or could not answer; the message says which where it is known.
        """
        with self._watched():
            if self.size > 1:
                sizes = [len(task) for task in tasks]
                head = [question, len(tasks), sum(sizes), len(state), length, _DTYPES.index(state.dtype)]
                order = np.concatenate([np.array(head + sizes), *tasks])
                first = np.zeros(_LETTER, np.int64)  # of one size, so that one message does for most questions
                first[: len(order)] = order[:_LETTER]
                torch.distributed.broadcast(torch.from_numpy(first), src=0)
                if len(order) > _LETTER:
                    torch.distributed.broadcast(torch.from_numpy(order[_LETTER:].copy()), src=0)
                torch.distributed.broadcast(state, src=0)
            return self._answers(question, state, tasks, length)

    def help(self) -> None:
        """Answer until the one that leads says that it is done; called by helpers.

        Raises
        ------
        WorkerError
            The one that leads is gone.
        """
        with self._watched():
            given: list[Service | None] = [None]
            torch.distributed.broadcast_object_list(given, src=0, device=torch.device("cpu"))
            if given[0] is None:
                return
            self._service = given[0]
            self._service.to(self.device)
            while True:
                first = torch.zeros(_LETTER, dtype=torch.int64)
                torch.distributed.broadcast(first, src=0)
                question, count, total, size, length, dtype = first[:_HEAD].tolist()
                if question == _STOP:
                    return
                rest = torch.zeros(max(0, _HEAD + count + total - _LETTER), dtype=torch.int64)
                if len(rest):
                    torch.distributed.broadcast(rest, src=0)
                state = torch.zeros(size, dtype=_DTYPES[dtype], device=self.device)
                torch.distributed.broadcast(state, src=0)
                numbers = torch.cat([first[_HEAD:], rest]).numpy()[: count + total]
                tasks = np.split(numbers[count:], np.cumsum(numbers[: count - 1]))
                self._answers(question, state, tasks, length)

    def _answers(self, question: int, state: torch.Tensor, tasks: Sequence[np.ndarray], length: int) -> torch.Tensor:
        assert self._service is not None
        mine = range(self.rank, len(tasks), self.size)
        if self.size == 1:
            return torch.stack(self._service.answer(question, state, tasks, mine))
        rows = state.new_zeros(-(-len(tasks) // self.size), length + 1)  # the last column tells of failures
        failed = None
        try:
            for i, row in enumerate(self._service.answer(question, state, tasks, mine)):
                rows[i, :-1] = row
        except Exception as error:
            if self.rank == 0:
                raise
            failed = f"{type(error).__name__}: {error}"
            rows[:, -1] = 1
        if self.device != "cpu":  # NCCL would wait for a dead process; gloo, which has the connections, does not
            torch.distributed.all_reduce(torch.zeros(1))
        every = [torch.empty_like(rows) for _ in range(self.size)]
        torch.distributed.all_gather(every, rows)
        answers = torch.stack(every, dim=1)
        ill = answers[0, :, -1].nonzero().flatten().tolist()
        if ill:
            words = [failed]
            torch.distributed.broadcast_object_list(words, src=ill[0], device=torch.device("cpu"))
            raise WorkerError(f"worker {ill[0] + 1} of {self.size} failed ({words[0]})")
        return answers.flatten(0, 1)[: len(tasks), :-1]

    def _meet(self) -> None:
        """Find the others, where that was put off."""

    def _gone(self) -> str:
        """Return what is known of who is gone."""
        return "a worker ended before the work was done"

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Turn what torch.distributed says of a broken connection into one line."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_connection(error):
                raise
            raise WorkerError(self._gone()) from error

    def stop(self) -> None:
        """Let the helpers go; called by the one that leads, once all is done."""
        if self.size == 1 or not torch.distributed.is_initialized():
            return
        with self._watched():
            if self._service is None:
                torch.distributed.broadcast_object_list([None], src=0, device=torch.device("cpu"))
            else:
                torch.distributed.broadcast(torch.full((_LETTER,), _STOP), src=0)


def _is_connection(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(
        word in words for word in ("connection", "gloo", "nccl", "peer", "socket", "timed out", "broken pipe")
    )


class _LocalTeam(Team):
    """Helpers on this machine, started by this process."""

    def __init__(self, size: int, device: str, meeting: str, helpers: Sequence[BaseProcess], ready: Any) -> None:
        super().__init__(0, size, device)
        self._meeting = meeting
        self._helpers = helpers
        self._ready = ready

    def _meet(self) -> None:
        if torch.distributed.is_initialized():
            return
        for _ in self._helpers:  # one that dies before it is ready would be waited for in vain
            while not self._ready.acquire(timeout=0.05):
                if any(helper.exitcode is not None for helper in self._helpers):
                    raise WorkerError(self._gone())
        with self._watched(), _over_loopback():
            _join(self.rank, self.size, self.device, self._meeting)

    def _gone(self) -> str:
        for _ in range(40):  # a connection closes a moment before its process is known to have ended
            for number, helper in enumerate(self._helpers, 2):
                if helper.exitcode is not None:
                    how = f"was killed by signal {-helper.exitcode}" if helper.exitcode < 0 else "ended"
                    memory = ": out of memory?" if helper.exitcode == -signal.SIGKILL else ""
                    return f"worker {number} of {self.size} {how} before the work was done{memory}"
            time.sleep(0.05)
        return super()._gone()


@contextmanager
def team(workers: int = 1, device: str = "cpu", place: Place | None = None) -> Iterator[Team]:
    """Yield the team that this process leads; helpers are let go at the end, whatever happens.

    Parameters
    ----------
    workers
        Processes on this machine, this one among them. With a `place`, the launcher has decided on their number.
    device
        ``cuda``: each process has a GPU of its own.
    place
        Rank 0 of those that a launcher started.

    Raises
    ------
    UsageError
        Fewer than one worker, another number than the launcher started, or fewer GPUs than workers.
    WorkerError
        The others were not found.
    """
    require_workers(workers)
    if place is not None and workers not in (1, place.size):
        raise UsageError(f"{place.size} processes were started, not {workers}: leave this out", key="--workers")
    size = workers if place is None else place.size
    if size == 1:
        yield Team(device=device)
    elif place is not None:
        yield from _launched_team(place, device)
    else:
        yield from _local_team(size, device)


def _launched_team(place: Place, device: str) -> Iterator[Team]:
    together = _join_launched(place, device)
    try:
        yield together
        together.stop()
    finally:
        _leave()


def help_team(device: str, place: Place) -> NoReturn:
    """Help the process of rank 0 until it is done, and end; one that is gone ends this one without a word of its own.

    Raises
    ------
    WorkerError
        Nobody was found.
    """
    torch.set_num_threads(1)
    together = _join_launched(place, device)
    status = 0
    try:
        together.help()
    except WorkerError:
        status = WorkerError.exit_status  # rank 0 has said, or could not say, why
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a farewell to connections that the other end is closing has aborted this process


def _join_launched(place: Place, device: str) -> Team:
    own = _own_device(device, place.local)
    try:
        _join(place.rank, place.size, own, place.meeting)
    except (RuntimeError, ValueError) as error:
        words = " ".join(str(error).splitlines()[:1])
        raise WorkerError(f"the {place.size} processes did not find each other at {place.meeting} ({words})") from None
    return Team(place.rank, place.size, own)


def _join(rank: int, size: int, device: str, meeting: str) -> None:
    store, _, _ = next(rendezvous(meeting, rank, size, timeout=_MEETING))
    store.set_timeout(_MEETING)
    # gloo carries what is said, whatever carries the answers: it notices at once that somebody is gone
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_ANSWER)


def _local_team(size: int, device: str) -> Iterator[Team]:
    import multiprocessing

    if device == "cuda" and torch.cuda.device_count() < size:
        raise UsageError(f"{size} workers need as many GPUs, found {torch.cuda.device_count()}", key="--workers")
    # spawn: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    folder = Path(tempfile.mkdtemp(prefix="mlff-curate-"))
    meeting = f"file://{folder / 'meeting'}"
    ready = context.Semaphore(0)
    helpers: list[BaseProcess] = [
        context.Process(target=_help_here, args=(rank, size, meeting, device, ready), daemon=True)
        for rank in range(1, size)
    ]
    try:
        with interrupts_not_inherited():
            for helper in helpers:
                helper.start()
        together = _LocalTeam(size, _own_device(device, 0), meeting, helpers, ready)
        yield together
        together.stop()
        for helper in helpers:
            helper.join(timeout=5)
    finally:
        for helper in helpers:
            if helper.is_alive():
                helper.terminate()
        _leave()
        shutil.rmtree(folder, ignore_errors=True)


def _help_here(rank: int, size: int, meeting: str, device: str, ready: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    own = _own_device(device, rank)
    ready.release()
    with suppress(WorkerError):  # the one that leads is gone or knows
        together = Team(rank, size, own)
        with _over_loopback():
            _join(rank, size, own, meeting)
        together.help()
    os._exit(0)  # no farewell to connections that may be closed already


@contextmanager
def _over_loopback() -> Iterator[None]:
    """Let gloo connect through this machine's own interface: its name need not lead anywhere."""
    names = {name for _, name in socket.if_nameindex()}
    own = next((name for name in _LOOPBACK if name in names), None)
    if own is None or "GLOO_SOCKET_IFNAME" in os.environ:
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = own
    try:
        yield
    finally:
        os.environ.pop("GLOO_SOCKET_IFNAME", None)


def _own_device(device: str, local: int) -> str:
    """Return the torch device of a process: of several GPUs one each."""
    if device == "cpu":
        return device
    if device != "cuda":
        raise UsageError(f"each worker has a GPU of its own: say cuda, not {device}", key="--device")
    own = f"cuda:{local % max(1, torch.cuda.device_count())}"
    torch.cuda.set_device(own)
    return own


def _leave() -> None:
    if torch.distributed.is_initialized():
        with suppress(RuntimeError):
            torch.distributed.destroy_process_group()
