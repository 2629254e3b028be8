"""The potentials of a committee, from files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms


def digest_of(path: str | Path) -> str:
    """Return the sha256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_different(models: Sequence[str]) -> None:
    """Refuse a model that is given twice, under whatever name: it would count double, and agree with itself.

    Parameters
    ----------
    models
        Their files. What cannot be read is left to those who read it.

    Raises
    ------
    UsageError
        Names both files.
    """
    seen: dict[str, str] = {}
    for path in models if len(models) > 1 else ():
        try:
            digest = digest_of(path)
        except (OSError, ValueError):
            continue
        if digest in seen:
            twice = "is given twice" if seen[digest] == path else f"holds the same bytes as {seen[digest]}"
            raise UsageError(f"{path} {twice}: a model cannot disagree with itself", key="--committee")
        seen[digest] = path


class Committee:
    """Potentials that are asked together.

    Parameters
    ----------
    models
        Their files, one or more.
    device
        Torch device.

    Attributes
    ----------
    potentials
        In the order of the files.

    Raises
    ------
    DataError
        A file is missing, damaged, or holds something else.
    """

    def __init__(self, models: Sequence[str], device: str) -> None:
        self.potentials = [Potential.load(path, device=device) for path in models]
        self._named: Mapping[str, Potential] = dict(zip(models, self.potentials, strict=True))

    def require_known(self, atoms: Atoms) -> None:
        """Refuse a frame with an element that one of them never saw.

        Raises
        ------
        DataError
            Names the potential and the elements.
        """
        for path, potential in self._named.items():
            try:
                potential.require_known([atoms])
            except DataError as error:
                raise DataError(f"{path}: {error.message}", frame=0) from None
