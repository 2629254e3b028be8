"""SNAP is the published model; what every model must fulfil is in test_rows.py."""

import numpy as np
import pytest
from ase.build import bulk

from mlff_curate.errors import UsageError
from mlff_curate.lammps_session import LammpsSession, potential_file
from mlff_curate.linear.snap import LinearSnap

pytestmark = pytest.mark.lammps


def test_the_published_tantalum_potential_is_one_of_these_models():
    # The file ends with the constant and one coefficient a line.
    beta = np.array(potential_file("Ta06A.snapcoeff").read_text().split()[-30:], dtype=float)
    atoms = bulk("Ta", a=3.3, cubic=True) * 2
    atoms.rattle(0.2, seed=4)
    other = bulk("Ta", "fcc", a=4.2)
    published = [
        "pair_style hybrid/overlay zero 10.0 zbl 4.0 4.8 snap",
        "pair_coeff * * zero",
        "pair_coeff 1 1 zbl 73 73",
        f'pair_coeff * * snap "{potential_file("Ta06A.snapcoeff")}" "{potential_file("Ta06A.snapparam")}" Ta',
    ]
    energies, forces = [], []
    with LammpsSession() as session:
        for frame in (atoms, other):
            session.load(frame, [73], published)
            session.run(0)
            energies.append(session.energy() / len(frame))
            forces.append(session.forces())
    # The file's cutoff is 4.67637, where our reference would end too; its own is switched off from 4.0 to 4.8.
    a, b = LinearSnap([73], 4.67637, quadratic=False).rows([atoms, other])
    zbl_a, zbl_b = LinearSnap([73], 4.8, quadratic=False).rows([atoms, other])
    ours = [rows.energy @ beta + reference.reference_energy for rows, reference in ((a, zbl_a), (b, zbl_b))]
    assert ours[0] - ours[1] == pytest.approx(energies[0] - energies[1], abs=1e-6)
    assert np.allclose(a.forces @ beta + zbl_a.reference_forces, forces[0], atol=1e-6)


def test_products_of_components_come_after_the_components():
    atoms = bulk("Ta", a=3.3)  # one atom: the products of its components are those of the frame's
    linear, quadratic = (next(LinearSnap([73], 4.5, quadratic=q).rows([atoms])) for q in (False, True))
    b, n = linear.energy, len(linear.energy)
    products = [b[i] * b[j] * (0.5 if i == j else 1.0) for i in range(n) for j in range(i, n)]
    assert np.allclose(quadratic.energy, np.concatenate([b, products]))


@pytest.mark.parametrize(("species", "cutoff"), [([], 4.0), ([73], 0.0), ([73], np.nan)])
def test_a_model_without_species_or_reach_is_refused(species, cutoff):
    with pytest.raises(UsageError, match=r"species|cutoff"):
        LinearSnap(species, cutoff)
