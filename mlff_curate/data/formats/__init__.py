"""One module per file format: how it is told, read and written, and nothing else knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.data.formats.ase_formats import DATABASE
from mlff_curate.data.formats.cif import CIF, CIF_FOLDER
from mlff_curate.data.formats.deepmd import DEEPMD
from mlff_curate.data.formats.extxyz import EXTXYZ
from mlff_curate.data.formats.fitsnap import FITSNAP, FITSNAP_FILE
from mlff_curate.data.formats.hdf5 import HDF5
from mlff_curate.data.formats.kliff import KLIFF
from mlff_curate.data.formats.lammps_data import LAMMPS_DATA, LAMMPS_DATA_FOLDER
from mlff_curate.data.formats.lammps_dump import LAMMPS_DUMP
from mlff_curate.data.formats.mace import MACE
from mlff_curate.data.formats.n2p2 import N2P2
from mlff_curate.data.formats.nequip import NEQUIP
from mlff_curate.data.formats.pymatgen_json import PYMATGEN_JSON
from mlff_curate.data.formats.vasp_outcar import OUTCAR
from mlff_curate.data.formats.vasp_xdatcar import XDATCAR
from mlff_curate.data.formats.vasp_xml import VASPRUN

if TYPE_CHECKING:
    from mlff_curate.data.formats.base import Format

FORMATS: tuple[Format, ...] = (
    EXTXYZ,
    MACE,
    NEQUIP,
    HDF5,
    DATABASE,
    KLIFF,
    LAMMPS_DUMP,
    LAMMPS_DATA,
    LAMMPS_DATA_FOLDER,
    VASPRUN,
    OUTCAR,
    XDATCAR,
    FITSNAP,
    FITSNAP_FILE,
    PYMATGEN_JSON,
    N2P2,
    DEEPMD,
    CIF,
    CIF_FOLDER,
)
"""In the order in which they are asked whether a file is theirs; extxyz and what ASE alone reads come after them."""
