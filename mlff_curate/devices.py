"""Torch devices by name."""

from __future__ import annotations

from mlff_curate.errors import UsageError


def require_device(name: str) -> None:
    """Refuse a torch device that cannot be used here.

    Raises
    ------
    UsageError
        With torch's reason.
    """
    if name == "cpu":
        return
    if name.partition(":")[0] != "cuda":
        raise UsageError(f"{name!r} is not supported; available: cpu, cuda, cuda:0 ...", key="--device")
    import torch

    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"{name!r} cannot be used ({words})", key="--device") from None
