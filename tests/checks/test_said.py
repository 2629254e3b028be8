"""What the physics of labels has found is told in few words, in the number of its noun, and with what to do."""

import numpy as np
import pytest
from ase import Atoms

from mlff_curate.checks.agreement import Comparison, Verdict
from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.checks.outliers import Suspect
from mlff_curate.checks.robust import Line
from mlff_curate.checks.said import incoherent, one, whole_set
from mlff_curate.checks.units import ENERGY_FAULTS, FORCE_FAULTS, ORDER_FAULTS
from mlff_curate.data.labels import Labels

KCAL = next(fault for fault in ENERGY_FAULTS if fault.name == "in kcal/mol")
HARTREE = next(fault for fault in FORCE_FAULTS if fault.name == "in Hartree/Bohr")
FRAME = CheckedFrame(
    "ta.extxyz",
    3,
    Atoms("Ta2"),
    Labels(
        energy=-1.0,
        forces=np.ones((2, 3)),
        stress=np.ones(6),
        energy_key="energy",
        forces_key="forces",
        stress_key="stress",
    ),
)


def comparison(source, target, slope, r=0.99):
    return Comparison(source, target, Line(slope, 0.02, r, 100), 90)


def verdict(fault, before=(), after=(), stiffness=None):
    return Verdict((fault,), (True,), before, after, {fault.kind: stiffness})


class TestAFaultOfAllFrames:
    def test_is_told_by_the_one_comparison_that_shows_it_best(self):
        before = (
            comparison("energy", "stress", 0.0434, r=0.999),
            comparison("forces", "energy", 22.4, r=0.95),
            comparison("stress", "energy", 23.061, r=0.998),
        )
        after = (comparison("forces", "energy", 0.97), comparison("stress", "energy", 1.0001))
        found = whole_set([FRAME], KCAL, True, verdict(KCAL, before, after))
        assert found.message == (
            "the energies of all 1 frame look as if in kcal/mol: they are 23.06 \u00b1 0.02 times what a model "
            "fitted to the stresses alone predicts (90 frames), and 1.00 times with that undone. No other known fault "
            "explains it as well."
        )
        assert found.value == pytest.approx(23.061)
        assert found.fix == "multiply the energies by 0.0433641039"

    def test_is_told_by_what_it_does_to_other_labels_where_that_is_all_there_is(self):
        found = whole_set([FRAME], KCAL, True, verdict(KCAL, (comparison("energy", "forces", 0.0434),)))
        said = "the forces are 0.0434 \u00b1 0.02 times what a model fitted to them alone predicts (90 frames). "
        assert said in found.message

    def test_is_told_by_stiffness_where_there_are_no_other_labels(self):
        found = whole_set([FRAME], KCAL, True, verdict(KCAL, stiffness=199.4))
        assert "would take 199 eV/\u00c5\u00b2 by a model fitted to them (usual: 0.5 to 50). No other" in found.message
        assert found.value == pytest.approx(199.4)

    def test_of_the_order_of_components_quotes_no_slope(self):
        before = (comparison("energy", "stress", 0.97),)
        found = whole_set([FRAME], ORDER_FAULTS[0], True, verdict(ORDER_FAULTS[0], before))
        assert "in the order xx yy zz xy yz zx: only in that order does a fit to some of them meet" in found.message

    def test_that_is_not_certain_is_to_be_looked_at_before_mending(self):
        found = whole_set([FRAME], KCAL, False, verdict(KCAL, (comparison("stress", "energy", 23.0),)))
        assert found.message.endswith("Another explanation comes near: look before mending.")
        assert found.fix == "look at the calculations; if it is so, multiply the energies by 0.0433641039"


def suspect(kind, rule, fault=None, atom=-1):
    return Suspect(3, kind, rule, fault, 395.2, 0.7, 300.0, 0.1, atom, certain=fault is not None)


def told(odd):
    return one(FRAME, odd, 0.0, None, 0, mended=False)


def test_the_verb_has_the_number_of_its_label():
    assert told(suspect("energy", "energy-unit", KCAL)).message.startswith("looks as if in kcal/mol: 300 eV/atom off")
    assert told(suspect("forces", "force-unit", HARTREE)).message.startswith("look as if in Hartree/Bohr: ")
    assert told(suspect("energy", "energy-zero")).message.startswith("is exactly zero, which")
    assert told(suspect("forces", "force-zero")).message.startswith("are exactly zero, which")


class TestForcesOfTheWholeFrame:
    """They may be right, and in another order than the atoms."""

    ORDER = "see whether the forces stand in the order of the atoms (a LAMMPS dump without sort"

    def test_that_have_nothing_to_do_with_it_are_looked_at_for_their_order(self):
        assert told(suspect("forces", "force-outlier")).fix.startswith(self.ORDER)

    def test_that_have_nothing_to_do_with_any_frame_as_well(self):
        found = incoherent([FRAME], "forces", verdict(KCAL, (comparison("energy", "forces", 0.002, r=0.0034),)))
        assert found.message.endswith(
            "not seen; r 0.00 with what a model fitted to the energies alone predicts (90 frames)"
        )
        assert found.fix.startswith(self.ORDER)
        assert found.fix.endswith("whether labels and frames belong together")

    @pytest.mark.parametrize("odd", [suspect("forces", "force-outlier", atom=1), suspect("energy", "energy-outlier")])
    def test_nothing_else_is(self, odd):
        assert told(odd).fix == "look whether the calculation converged; recompute or drop the frame"
