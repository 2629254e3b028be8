"""What the tests of formats share."""

import copy

import numpy as np
import pytest
from format_frames import format_of, normal

from mlff_curate import read_frames
from mlff_curate.data.formats.base import WriteOptions
from mlff_curate.data.frames import calculator_results
from mlff_curate.data.writing import add_frame


@pytest.fixture
def store(tmp_path):
    """Write frames in a format, read them back: (frames read, names lost for each frame, path)."""

    def run(format_name, frames, options=WriteOptions()):  # noqa: B008 - frozen
        kind = format_of(format_name)
        path = tmp_path / f"out{kind.suffix}"
        before = copy.deepcopy([(a.positions, a.cell.array, a.arrays, calculator_results(a)) for a in frames])
        writer = kind.write(path, options)
        lost = [add_frame(writer, normal(atoms, index)) for index, atoms in enumerate(frames)]
        writer.close()
        for atoms, parts in zip(frames, before, strict=True):  # what is written is not changed
            np.testing.assert_equal((atoms.positions, atoms.cell.array, atoms.arrays, calculator_results(atoms)), parts)
        return list(read_frames(path)), lost, path

    return run
