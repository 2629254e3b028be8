"""Unit styles fit together as mechanics asks, and to the constants of nature."""

import pytest
from ase import units

from mlff_curate.data.formats.lammps_units import STYLES, in_ase_units, refusal


@pytest.mark.parametrize("style", STYLES)
def test_energy_is_force_times_distance(style):
    assert in_ase_units("energy", style) == pytest.approx(
        in_ase_units("force", style) * in_ase_units("distance", style), rel=1e-6
    )


@pytest.mark.parametrize("style", ["si", "cgs", "micro", "nano"])
def test_energy_is_mass_times_velocity_squared_where_units_are_coherent(style):
    kinetic = in_ase_units("mass", style) * in_ase_units("velocity", style) ** 2
    assert in_ase_units("energy", style) == pytest.approx(kinetic, rel=1e-6)


@pytest.mark.parametrize(
    ("style", "quantity", "value"),
    [
        ("metal", "energy", 1.0),
        ("metal", "velocity", units.Angstrom / (1000 * units.fs)),
        ("real", "energy", units.kcal / units.mol),
        ("real", "velocity", units.Angstrom / units.fs),
        ("electron", "distance", units.Bohr),
        ("electron", "energy", units.Hartree),
        ("electron", "mass", 1.0),
        ("electron", "velocity", units.Bohr / (1.03275e-15 * units.second)),  # its own unit of time
        ("si", "distance", 1e10),
        ("si", "charge", 1 / 1.602176634e-19),
        ("cgs", "distance", 1e8),
        ("cgs", "charge", 1 / 4.8032044e-10),
        ("micro", "distance", 1e4),
        ("micro", "charge", 1e-12 / 1.602176634e-19),
        ("nano", "distance", 10.0),
        ("nano", "charge", 1.0),
    ],
)
def test_units_are_those_of_the_lammps_manual(style, quantity, value):
    assert in_ase_units(quantity, style) == pytest.approx(value, rel=1e-5)


def test_what_is_no_unit_is_refused():
    assert all(refusal(style) is None for style in STYLES)
    assert refusal("lj") == "lj units stand for no eV and no Angstrom: write the run in metal or real units"
    assert refusal("METAL").startswith("'METAL' is no unit style of LAMMPS; available: metal, real, si, cgs")
