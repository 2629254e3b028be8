"""A force field is found by name, or by what is installed."""

import pytest

from mlff_curate import lammps_session
from mlff_curate.errors import MissingDependencyError, UsageError
from mlff_curate.linear.models import linear_model
from mlff_curate.linear.power_spectrum import LinearPowerSpectrum


@pytest.fixture
def no_lammps(monkeypatch):
    """A machine on which LAMMPS does not load."""

    def refuse():
        raise MissingDependencyError("LAMMPS cannot be loaded")

    monkeypatch.setattr(lammps_session, "import_lammps", refuse)


@pytest.mark.lammps
def test_snap_is_the_default():
    model, notes = linear_model(None, [73], 4.0)
    assert (model.kind, notes) == ("snap", ())


@pytest.mark.usefixtures("no_lammps")
def test_without_lammps_the_power_spectrum_steps_in_and_says_so():
    model, notes = linear_model(None, [73], 4.0)
    assert model.kind == "power-spectrum"
    assert "LAMMPS cannot be loaded" in notes[0]


@pytest.mark.usefixtures("no_lammps")
def test_snap_by_name_is_not_replaced_in_silence():
    with pytest.raises(MissingDependencyError, match="LAMMPS cannot be loaded"):
        linear_model("snap", [73], 4.0)


def test_the_power_spectrum_by_name_comes_without_notes():
    model, notes = linear_model("power-spectrum", [73, 41], 4.0)
    assert (model.species, notes) == ((41, 73), ())


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UsageError, match=r"--model: 'ace' is unknown; available: snap, power-spectrum"):
        linear_model("ace", [73], 4.0)


@pytest.mark.parametrize(("species", "cutoff"), [([], 4.0), ([73], 0.0), ([73], float("nan"))])
def test_a_power_spectrum_without_species_or_reach_is_refused(species, cutoff):
    with pytest.raises(UsageError, match=r"species|cutoff"):
        LinearPowerSpectrum(species, cutoff)
