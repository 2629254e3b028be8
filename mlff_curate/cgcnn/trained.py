"""Models that training makes, and that one file holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from mlff_curate.data.outputs import write_whole
from mlff_curate.devices import require_device
from mlff_curate.parameters import Parameters


class Trained(Parameters, ABC):
    """Saves and loads a model; what its file holds, each model says."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model to one safetensors file, at exactly this path; it appears whole or not at all.

        Raises
        ------
        OutputError
            The file exists and is not to be replaced, or cannot be written.
        ValueError
            The model is not trained.
        """
        write_whole(Path(path), self._to_bytes(), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> Self:
        """Return the model in a file that :meth:`save`, ``mlff-curate train`` or ``mlff-curate pretrain`` wrote.

        Raises
        ------
        DataError
            The file is missing, damaged, or holds something else.
        """
        require_device(device)
        return cls._read(path, device)

    @abstractmethod
    def _to_bytes(self) -> bytes:
        """Return what the file holds."""

    @classmethod
    @abstractmethod
    def _read(cls, path: str | Path, device: str) -> Self:
        """Return the model that a file holds."""
