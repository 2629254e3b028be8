"""Processes that compute together: the same answers however many, and none left waiting."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from mlff_curate.errors import UsageError, WorkerError
from mlff_curate.team import Place, Team, first_host, place_in, team

TASKS = [np.arange(k, dtype=np.int64) for k in (3, 0, 5, 1, 2)]


class Sums:
    """Answers a task with its sum times the state, and with the process's number."""

    def to(self, device):
        self.device = device

    def answer(self, question, state, tasks, mine):
        if question == 2 and 2 in mine:
            raise ArithmeticError("too much")
        if question == 3 and os.getpid() != self.leader:
            os.kill(os.getpid(), signal.SIGKILL)
        return [torch.cat([state * float(tasks[i].sum()), state.new_tensor([os.getpid()])]) for i in mine]

    def __init__(self):
        self.leader = os.getpid()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_answers_come_in_the_order_of_the_tasks(workers):
    with team(workers) as together:
        together.share(Sums())
        many = [np.arange(400), np.arange(3), np.arange(90)]
        for tasks, dtype in ((TASKS, torch.float64), (TASKS[2:3], torch.float32), (many, torch.float64)):
            state = torch.tensor([1.0, 0.1], dtype=dtype)
            answers = together.ask(1, state, tasks, 3)
            assert answers.dtype == dtype
            wanted = torch.stack([state * float(task.sum()) for task in tasks])
            assert torch.equal(answers[:, :2], wanted)
            assert len(set(answers[:, 2].tolist())) == min(workers, len(tasks))


def test_a_failure_of_a_helper_is_told():
    with team(3) as together:
        together.share(Sums())
        with pytest.raises(WorkerError, match=r"^worker 3 of 3 failed \(ArithmeticError: too much\)$"):
            together.ask(2, torch.ones(1), TASKS, 2)
        together.size = 1  # nobody is there to be let go


def test_a_helper_that_is_killed_is_noticed_at_once():
    words = r"^worker 2 of 2 was killed by signal 9 before the work was done: out of memory\?$"
    with team(2) as together:
        together.share(Sums())
        began = time.monotonic()
        with pytest.raises(WorkerError, match=words):
            together.ask(3, torch.ones(1), TASKS, 2)
        assert time.monotonic() - began < 20
        together.size = 1


def test_a_helper_that_never_starts_is_noticed(tmp_path):
    """Without a guard, a script's helpers run the script again instead of helping."""
    script = """
        from mlff_curate.team import team

        with team(2) as together:
            together.share(None)
    """
    (tmp_path / "unguarded.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, tmp_path / "unguarded.py"], capture_output=True, text=True, timeout=100, check=False
    )
    assert "WorkerError: worker 2 of 2 ended before the work was done" in done.stderr


def test_nobody_is_left_behind():
    with team(2) as together:
        together.share(Sums())
        helper = together._helpers[0]
        assert helper.is_alive()
    assert not helper.is_alive()
    left = []

    def leave():
        with team(2) as together:
            left.extend(together._helpers)
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    (helper,) = left
    helper.join(10)
    assert helper.exitcode is not None


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="--workers: must be at least 1, got 0"), team(0):
        pass
    started = Place(0, 2, 0, "")
    with pytest.raises(UsageError, match="--workers: 2 processes were started, not 3"), team(3, "cpu", started):
        pass
    if torch.cuda.device_count() < 3:
        with pytest.raises(UsageError, match="--workers: 3 workers need as many GPUs, found"), team(3, "cuda"):
            pass
    assert Team().size == 1


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[03-07,9],login", "gpu03"), ("gpu[3,5]", "gpu3"), ("a1,b2", "a1"), ("one.cluster", "one.cluster")],
)
def test_the_first_host_of_slurms_lists(nodes, first):
    assert first_host(nodes) == first


def test_launchers_are_known_by_what_they_set():
    torchrun = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    assert place_in(torchrun) == Place(1, 4, 1, "env://")
    srun = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "n[1-2]"}
    assert place_in({**srun, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"}) == Place(3, 4, 1, "tcp://n1:20681")
    # a batch script has a rank and the number of the job's tasks, and is alone all the same
    assert place_in({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"}) is None
    assert place_in({**torchrun, "RANK": "0", "WORLD_SIZE": "1"}) is None
    assert place_in({}) is None
    with pytest.raises(UsageError, match="RANK, WORLD_SIZE, LOCAL_RANK: are set and are no whole numbers"):
        place_in({**torchrun, "RANK": "one"})
    with pytest.raises(UsageError, match="RANK, WORLD_SIZE: say 4 of 4, which cannot be"):
        place_in({**torchrun, "RANK": "4"})
