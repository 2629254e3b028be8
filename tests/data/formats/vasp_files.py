"""Small outputs of VASP, laid out as by versions 5.4 and 6.3: a bcc cell of two ions, three ionic steps."""

import numpy as np

STEPS = 3
ELECTRONIC = 3


def positions(step, rng_seed=0):
    rng = np.random.default_rng([rng_seed, step])
    return np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) + rng.normal(0, 0.01, (2, 3)).round(8)


def forces(step):
    f = np.random.default_rng([1, step]).normal(0, 1, 3).round(6)
    return np.array([f, -f])


def stress(step):
    """(3, 3) in kB, symmetric, positive under compression."""
    s = np.random.default_rng([2, step]).normal(0, 30, (3, 3)).round(5)
    return np.tril(s) + np.tril(s, -1).T


def cell(step):
    return np.array([[3.3, 0, 0], [0.1, 3.3, 0], [0.05, 0.2, 3.3]]) * (1 + 0.001 * step)


def free_energy(step, electronic=ELECTRONIC - 1):
    """Converges by a factor of 1000 with every electronic step."""
    return -23.5 - 0.1 * step + 10.0 ** (-1 - 3 * electronic)


ENTROPY = 0.02  # eV: energy without entropy less free energy


def _v(rows, indent):
    return "".join(f"{indent}<v>" + "".join(f"{x:16.8f}" for x in row) + " </v>\n" for row in rows)


def _structure(step, name=""):
    c = cell(step)
    return (
        f' <structure{name}>\n   <crystal>\n    <varray name="basis" >\n{_v(c, "     ")}    </varray>\n'
        f'    <i name="volume">{np.linalg.det(c):16.8f} </i>\n    <varray name="rec_basis" >\n'
        f'{_v(np.linalg.inv(c).T, "     ")}    </varray>\n   </crystal>\n   <varray name="positions" >\n'
        f"{_v(positions(step), '    ')}   </varray>\n  </structure>\n"
    )


def _energy(free, *, wrong=False):
    """VASP 5 writes the energy without entropy under the name of sigma -> 0 at the end of an ionic step."""
    zero = free + ENTROPY if wrong else free + ENTROPY / 2
    return (
        f'   <i name="e_fr_energy">{free:16.8f} </i>\n   <i name="e_wo_entrp">{free + ENTROPY:16.8f} </i>\n'
        f'   <i name="e_0_energy">{zero:16.8f} </i>\n'
    )


def calculation(step, *, electronic=ELECTRONIC, energies=True, labels=True):
    scf = "".join(
        '  <scstep>\n   <time name="dav">    0.12    0.13</time>\n   <time name="total">    0.15    0.16</time>\n'
        f"   <energy>\n{_energy(free_energy(step, i))}   </energy>\n  </scstep>\n"
        for i in range(electronic)
    )
    arrays = (
        f'  <varray name="forces" >\n{_v(forces(step), "   ")}  </varray>\n'
        f'  <varray name="stress" >\n{_v(stress(step), "   ")}  </varray>\n'
    )
    total = f"  <energy>\n{_energy(free_energy(step, electronic - 1), wrong=True)}  </energy>\n"
    dos = '  <dos>\n   <i name="efermi">      5.12345678 </i>\n   <total><array><set><set comment="spin 1">\n'
    dos += "<r>   -10.0000     0.0000     0.0000 </r>\n" * 4 + "</set></set></array></total>\n  </dos>\n"
    return (
        f" <calculation>\n{scf} {_structure(step)}{arrays if labels else ''}{total if energies else ''}"
        f'  <time name="totalsc">    0.51    0.54</time>\n{dos} </calculation>\n'
    )


def vasprun(*calculations, nelm=60, ediff=1e-4, pstress=0.0):
    head = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">5.4.4.18Apr17-6-g9f103f2a35  </i>
  <i name="subversion" type="string">(build Jan 01 2020 00:00:00) complex parallel </i>
 </generator>
 <incar>
  <i type="string" name="PREC">Accurate</i>
  <i type="int" name="NSW">     3</i>
 </incar>
 <kpoints>
  <generation param="Monkhorst-Pack">
   <v type="int" name="divisions">       1        1        1 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="general" >
   <i type="string" name="SYSTEM">bcc</i>
  </separator>
  <separator name="electronic" >
   <i type="string" name="PREC">accura</i>
   <i name="EDIFF">{ediff:16.8f}</i>
   <separator name="electronic convergence" >
    <i type="int" name="NELM">{nelm:6d}</i>
    <i type="int" name="NELMIN">     2</i>
   </separator>
  </separator>
  <separator name="ionic" >
   <i type="int" name="NSW">     3</i>
   <i name="PSTRESS">{pstress:16.8f}</i>
  </separator>
  <separator name="response functions" >
   <i type="int" name="NELM">     1</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>       2 </atoms>
  <types>       2 </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
    <rc><c>Ta</c><c>   1</c></rc>
    <rc><c>W </c><c>   2</c></rc>
   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <set>
    <rc><c>   1</c><c>Ta</c><c>    180.94800000</c><c>      5.00000000</c><c>  PAW_PBE Ta 17Jan2003  </c></rc>
    <rc><c>   1</c><c>W </c><c>    183.85000000</c><c>      6.00000000</c><c>  PAW_PBE W 08Apr2002  </c></rc>
   </set>
  </array>
 </atominfo>
"""
    body = "".join(calculations or map(calculation, range(STEPS)))
    first, last = (_structure(i, f' name="{word}" ') for i, word in ((0, "initialpos"), (STEPS - 1, "finalpos")))
    return f"{head}{first}{body}{last}</modeling>\n"


LINE = "-" * 104


def ionic_step(step, *, electronic=ELECTRONIC, reached=None, moments=None):
    """One ionic step of an OUTCAR; `reached`: what VASP says at the end of the electronic steps."""
    text = ""
    for i in range(electronic):
        free = free_energy(step, i)
        change = free - free_energy(step, i - 1) if i else free
        moment = "" if moments is None else f"{sum(moments):14.7f}"
        text += f"""
----------------------------------------- Iteration {step + 1:4d}({i + 1:4d})  ---------------------------------------


    POTLOK:  cpu time      0.0336: real time      0.0337
     EDDAV:  cpu time      0.6970: real time      0.7619

 eigenvalue-minimisations  :    42
 total energy-change (2. order) :{_fortran(change)}  (-0.1000000E-02)
 number of electron      11.0000000 magnetization {moment}
 augmentation part        0.7549089 magnetization {moment}

 Free energy of the ion-electron system (eV)
  ---------------------------------------------------
  alpha Z        PSCENC =         0.09845731
  entropy T*S    EENTRO =        -0.02000000
  ---------------------------------------------------
  free energy    TOTEN  = {free:19.8f} eV

  energy without entropy = {free + ENTROPY:19.8f}  energy(sigma->0) = {free + ENTROPY / 2:19.8f}


{LINE}
"""
    reached = reached or "aborting loop because EDIFF is reached"
    text += f"\n\n------------------------ {reached} ----------------------------------------\n\n"
    text += "" if moments is None else magnetization(moments)
    s, c, f = stress(step), cell(step), forces(step)
    kbar = [s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[2, 0]]
    lattice = "".join(
        "".join(f"{x:13.9f}" for x in [*a, *b]) + "\n" for a, b in zip(c, np.linalg.inv(c).T, strict=True)
    )
    lattice = "".join(f"   {line}\n" for line in lattice.splitlines())
    table = "".join(
        "".join(f"{x:13.5f}" for x in p) + "    " + "".join(f"{x:14.6f}" for x in row) + "\n"
        for p, row in zip(positions(step) @ c, f, strict=True)
    )
    free = free_energy(step, electronic - 1)
    return f"""{text}
  FORCE on cell =-STRESS in cart. coord.  units (eV):
  Direction    XX          YY          ZZ          XY          YZ          ZX
  --------------------------------------------------------------------------------------
  Alpha Z     0.09846     0.09846     0.09846
  -------------------------------------------------------------------------------------
  Total       2.00166     1.99483     1.97975    -0.00184    -0.07271    -0.03050
  in kB  {"".join(f"{x:12.5f}" for x in kbar)}
  external pressure =        0.07 kB  Pullay stress =        0.00 kB


 VOLUME and BASIS-vectors are now :
 -----------------------------------------------------------------------------
  energy-cutoff  :      300.00
  volume of cell : {np.linalg.det(c):11.2f}
      direct lattice vectors                 reciprocal lattice vectors
{lattice}
  length of vectors
     3.300000000  3.301514804  3.306433124     0.303030303  0.304000000  0.304000000


 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
{table} -----------------------------------------------------------------------------------
    total drift:                               -0.000021      0.000041      0.000033


{LINE}



  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  = {free:19.8f} eV

  energy  without entropy= {free + ENTROPY:19.8f}  energy(sigma->0) = {free + ENTROPY / 2:19.8f}



{LINE}


     LOOP+:  cpu time      2.0199: real time      2.1690
"""


def predicted_step(step):
    """What the machine-learned force field of VASP writes for an ionic step."""
    text = ionic_step(step, electronic=1)
    text = text[text.index("  FORCE on cell") :].replace("  FORCE on cell", "  ML FORCE on cell")
    text = text.replace("TOTAL-FORCE (eV/Angst)", "TOTAL-FORCE (eV/Angst) (ML)").replace(
        "  FREE ENERGIE", "  ML FREE ENERGIE"
    )
    text = text.replace("energy   TOTEN", "energy ML TOTEN").replace("  energy  without", "  ML energy  without")
    return text.replace("  energy(sigma->0)", "  ML energy(sigma->0)")


def _fortran(x):
    mantissa, exponent = f"{x:.6E}".split("E")
    return f"{float(mantissa) / 10:10.7f}".replace("0.", "0.") + f"E{int(exponent) + 1:+03d}"


def magnetization(moments, axis="x"):
    rows = "".join(f"{i:5d}        0.010   0.020 {m - 0.03:7.3f} {m:7.3f}\n" for i, m in enumerate(moments, 1))
    return (
        f" magnetization ({axis})\n \n# of ion       s       p       d       tot\n"
        f"------------------------------------------\n{rows}"
        f"--------------------------------------------------\ntot          0.020   0.040 {sum(moments):7.3f}"
        f" {sum(moments):7.3f}\n \n\n"
    )


END = """
 General timing and accounting informations for this job:
 ========================================================

                  Total CPU time used (sec):       27.818
                 Voluntary context switches:          739
"""


def outcar(*steps, nelm=60, end=END):
    potentials = "".join(
        f"   VRHFIN ={name}: s2p3\n   LEXCH  = PE\n   TITEL  = PAW_PBE {name}_pv 07Sep2000\n   ENMAX  =  223.667 eV\n"
        for name in ("Ta", "W")
    )
    head = f""" vasp.6.3.0 20Jan22 (build May 08 2022 00:08:36) complex

 executed on             LinuxIFC date 2022.05.12  14:11:53
 running   16 mpi-ranks, with    1 threads/rank


{LINE}


 INCAR:
   SYSTEM = bcc
   NELM = {nelm}
   EDIFF = 1e-4

 POTCAR:    PAW_PBE Ta_pv 07Sep2000
 POTCAR:    PAW_PBE W_pv 06Sep2000
 POTCAR:    PAW_PBE Ta_pv 07Sep2000
{potentials}
 POTCAR:    PAW_PBE W_pv 06Sep2000

   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     10
   number of dos      NEDOS =    301   number of ions     NIONS =      2
   ISPIN  =      1    spin polarized calculation?
   ions per type =               1   1

 Electronic Relaxation 1
   ENCUT  =  300.0 eV  22.05 Ry    4.70 a.u.
   NELM   = {nelm:6d};   NELMIN=  2; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-03   stopping-criterion for ELM

 k-points in reciprocal lattice and weights: Automatic mesh
   0.00000000  0.00000000  0.00000000       1.000

      direct lattice vectors                 reciprocal lattice vectors
     3.300000000  0.000000000  0.000000000     0.303030303  0.000000000  0.000000000
     0.100000000  3.300000000  0.000000000     0.000000000  0.303030303  0.000000000
     0.050000000  0.200000000  3.300000000     0.000000000  0.000000000  0.303030303

"""
    return head + "".join(steps or map(ionic_step, range(STEPS))) + end
