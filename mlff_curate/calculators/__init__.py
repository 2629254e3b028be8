"""A trained potential in ASE and in LAMMPS."""

from mlff_curate.calculators.ase_calculator import CGCNNCalculator

__all__ = ["CGCNNCalculator"]
