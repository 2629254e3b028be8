"""The optimiser of potentials and encoders, and what it remembers as arrays.

SOAP (N. Vyas et al., arXiv 2409.11321), as pytorch-optimizer has it: Adam along the eigenvectors of the second moments
of each matrix's gradients. The terms of a potential's loss pull the weights at very different strengths along
directions that are no axes, for which Adam along the weights themselves takes many times the steps
(docs/benchmarks.md).
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch

_WARM_UP = 100
"""Steps over which the learning rate rises to its own."""

_LAST_RATE = 0.01
"""Share of the learning rate that is left at the end."""

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What is kept of a parameter in its own shape."""

_BASES = ("GG", "Q")
"""What is kept of each dimension of a parameter of two or more: second moments and their eigenvectors."""

_LONGEST = 10_000
"""Dimensions longer than this have no basis of their own: it would be a matrix of as many rows and columns."""


def soap(parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimiser; each of its parameters has to have a gradient at each step."""
    return _kind()(parameters, lr=learning_rate, weight_decay=0.0, max_precondition_dim=_LONGEST)


@cache
def _kind() -> Callable[..., torch.optim.Optimizer]:
    # here, for it takes a second that predictions need not wait for
    import torch
    from pytorch_optimizer.optimizer.soap import SOAP

    class Soap(SOAP):
        """SOAP that turns the bases of parameters in double precision in double precision."""

        def get_orthogonal_matrix_qr(self, state: Any, *more: Any, **how: Any) -> Any:
            if state["exp_avg_sq"].dtype != torch.float64:
                return super().get_orthogonal_matrix_qr(state, *more, **how)
            bases: list[Any] = []
            for k, (moments, basis) in enumerate(zip(state["GG"], state["Q"], strict=True)):
                if not len(moments):
                    bases.append([])
                    continue
                product = moments @ basis
                order = torch.argsort((basis * product).sum(dim=0), descending=True)
                state["exp_avg_sq"] = state["exp_avg_sq"].index_select(k, order)
                bases.append(torch.linalg.qr(product.index_select(1, order))[0])
            return bases

    return Soap


def share_of_rate(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step, counted from 0: rises at first, then falls along a cosine."""
    falling = 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    return min(1.0, (step + 1) / _WARM_UP) * (_LAST_RATE + (1 - _LAST_RATE) * falling)


def move(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Move the weights by their gradients."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    # in rows, as they are read back: products of what lies in columns have other bits
    for kept in optimiser.state.values():
        kept["Q"] = [side.contiguous() if len(side) else side for side in kept["Q"]]


def steps_taken(optimiser: torch.optim.Optimizer) -> int:
    """Return how many steps there were."""
    return int(optimiser.param_groups[0].get("step", 0))


def set_steps_taken(optimiser: torch.optim.Optimizer, steps: int) -> None:
    """Undo :func:`steps_taken`."""
    if steps:
        optimiser.param_groups[0]["step"] = steps


def kept_of(optimiser: torch.optim.Optimizer, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what is kept of a parameter, by name; nothing before the first step."""
    state = optimiser.state[value]
    if not state:
        return {}
    moments = {name: state[name] for name in _MOMENTS}
    return moments | {f"{name}.{k}": side for name in _BASES for k, side in enumerate(state[name]) if len(side)}


def shapes_kept_of(value: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the same, after the first step."""
    moments = dict.fromkeys(_MOMENTS, tuple(value.shape))
    sides = {k: side for k, side in enumerate(value.shape) if _has_basis(value, k)}
    return moments | {f"{name}.{k}": (side, side) for name in _BASES for k, side in sides.items()}


def _has_basis(value: torch.Tensor, k: int) -> bool:
    """Return whether the optimiser keeps second moments and eigenvectors of a dimension of a parameter."""
    return value.ndim > 1 and value.shape[k] <= _LONGEST


def give(optimiser: torch.optim.Optimizer, value: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
    """Undo :func:`kept_of`."""
    own = {name: tensor.to(value.device) for name, tensor in tensors.items()}
    bases: dict[str, list[Any]] = {
        name: [own[f"{name}.{k}"] if _has_basis(value, k) else [] for k in range(value.ndim)] for name in _BASES
    }
    group = optimiser.param_groups[0]
    optimiser.state[value] = {
        **{name: own[name] for name in _MOMENTS},
        **bases,
        "precondition_frequency": group["precondition_frequency"],
        "shampoo_beta": group["betas"][1] if group["shampoo_beta"] is None else group["shampoo_beta"],
    }
