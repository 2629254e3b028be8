"""What moves atoms: the interface that the ASE and the LAMMPS engine fulfil."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mlff_curate.dynamics.conditions import Conditions
    from mlff_curate.dynamics.sample import Sample


@dataclass(frozen=True, eq=False)
class EngineState:
    """All that the next step depends on, in plain arrays and words.

    Attributes
    ----------
    step
        Steps taken.
    arrays
        By name: float64 and int64.
    words
        By name.
    """

    step: int
    arrays: dict[str, np.ndarray]
    words: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Moves atoms step by step.

    Attributes
    ----------
    atoms
        As they are now, with momenta and a calculator that has computed them. Not wrapped.
    conditions
        How they are moved.
    steps_done
        Since the start.
    """

    atoms: Atoms
    conditions: Conditions
    steps_done: int

    def step(self) -> None:
        """Take one step."""

    def sample(self) -> Sample:
        """Sum up where the atoms are."""

    def settle(self) -> EngineState:
        """Return the state, and go on from exactly what a run that is given this state would go on from.

        Sums of floating-point numbers depend on the order of neighbours, which depends on when they were searched. So
        they are searched again here, and whoever starts from the state searches them in the same place.
        """

    def restore(self, state: EngineState) -> None:
        """Go to a state that :meth:`settle` gave, of the same atoms under the same conditions."""

    def close(self) -> None:
        """Free what is held; doing so twice is harmless."""
