"""One fault per file: the message names file, frame and key, the status is 1, and nothing is written."""

import gzip
import os
import tracemalloc

import pytest
from mlff_curate_cli.main import main

from mlff_curate import read_frames
from mlff_curate.errors import DataError

CELL = 'Lattice="3 0 0 0 3 0 0 0 3"'
COLUMNS = "Properties=species:S:1:pos:R:3"
GOOD = f"2\n{CELL} {COLUMNS}\nFe 0.0 0.0 0.0\nFe 1.5 1.5 1.5\n"


def frame(*atoms, comment=f"{CELL} {COLUMNS}", count=None):
    """The text of a frame with these lines."""
    return "\n".join([str(len(atoms) if count is None else count), comment, *atoms, ""])


FIXED = frame(*(f"Fe {0.5 * i:12.8f} {0.0:12.8f} {0.0:12.8f}" for i in range(6)))
GZIPPED = gzip.compress(GOOD.encode() * 50)
TRUNCATED = "truncated, or the atom count is wrong"

FAULTS = {
    # name: (content, what the message says after the file's name)
    "empty.extxyz": ("", "the file is empty"),
    "blank.extxyz": ("\n  \n\t\r\n", "the file is empty"),
    "cut-in-frame.extxyz": (
        GOOD + GOOD[: GOOD.index("Fe 1.5")],
        f"frame 1: the file ends after 1 of 2 atoms (line 7): {TRUNCATED}",
    ),
    "cut-in-header.extxyz": (GOOD + "2\n", f"frame 1: the file ends after 0 of 2 atoms (line 5): {TRUNCATED}"),
    "cut-in-line.extxyz": (GOOD + GOOD[:-5], f"frame 1: line 8 has 3 columns instead of 4: {TRUNCATED}"),
    "cut-in-number.extxyz": (
        FIXED[:-4],
        "frame 0: line 8, the last, is cut off: the file is truncated (if it is whole, end it with a line end)",
    ),
    "count-too-small.extxyz": (
        frame("Fe 0 0 0", "Fe 1.5 1.5 1.5", count=1),
        "frame 1: line 4 should be the number of atoms, found 'Fe 1.5 1.5 1.5': the atom count of frame 0 is wrong",
    ),
    "count-too-large.extxyz": (
        frame("Fe 0 0 0", "Fe 1.5 1.5 1.5", count=3) + GOOD,
        f"frame 0: line 5 has 1 columns instead of 4: {TRUNCATED}",
    ),
    "count-huge.extxyz": (
        frame("Fe 0 0 0", count=10**12),
        f"frame 0: the file ends after 1 of 1000000000000 atoms (line 3): {TRUNCATED}",
    ),
    "count-absurd.extxyz": (
        frame("Fe 0 0 0", count=10**30),
        f"line 1 should be the number of atoms, found '{10**30}': not an extxyz file",
    ),
    "count-zero.extxyz": (frame(), "frame 0: the frame has no atoms"),
    "count-negative.extxyz": (
        frame("Fe 0 0 0", count=-1),
        "line 1 should be the number of atoms, found '-1': not an extxyz file",
    ),
    "count-missing.extxyz": (
        f"{CELL}\nFe 0 0 0\n",
        f"line 1 should be the number of atoms, found {CELL!r}: not an extxyz file",
    ),
    "nan-position.extxyz": (
        GOOD + frame("Fe 0 0 0", "Fe 1.5 nan 1.5"),
        "frame 1: positions: atom 1 has a position that is not a number (1 such atoms)",
    ),
    "inf-position.extxyz": (
        frame("Fe -inf 0 0"),
        "frame 0: positions: atom 0 has a position that is not a number (1 such atoms)",
    ),
    "far-position.extxyz": (frame("Fe 1e300 0 0"), "frame 0: positions: holds 1e+300 Angstrom: is the unit right?"),
    "nan-cell.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="3 0 0 0 nan 0 0 0 3"'),
        "frame 0: cell: the cell holds a value that is not a number",
    ),
    "short-cell.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="3 0 0 0 3 0 0 0"'),
        "frame 0: ASE cannot read it (ValueError: Got info item Lattice, expecting special 3x3 matrix, but",
    ),
    "zero-cell.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="0 0 0 0 0 0 0 0 0" pbc="T T T"'),
        "frame 0: cell: pbc is T T T but the cell has no volume there: set the cell or switch pbc off",
    ),
    "no-cell.extxyz": (
        frame("Fe 0 0 0", comment='pbc="T T T"'),
        "frame 0: cell: pbc is T T T but the cell has no volume there: set the cell or switch pbc off",
    ),
    "no-cell-in-one-direction.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="0 0 0 0 3 0 0 0 3" pbc="T F F"'),
        "frame 0: cell: pbc is T F F but the cell has no volume there: set the cell or switch pbc off",
    ),
    "flat-cell.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="3 0 0 1 2 0 2 1 0"'),
        "frame 0: cell: pbc is T T T but the cell has no volume there: set the cell or switch pbc off",
    ),
    "parallel-in-plane.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="3 0 0 6 0 0 0 0 9" pbc="T T F"'),
        "frame 0: cell: pbc is T T F but the cell has no volume there: set the cell or switch pbc off",
    ),
    "crowded-cell.extxyz": (
        frame("Fe 0 0 0", comment='Lattice="0.1 0 0 0 0.1 0 0 0 0.1"'),
        "frame 0: cell: 0.001 Angstrom^3 per atom: is the unit right?",
    ),
    "element-Xx.extxyz": (GOOD + frame("Xx 0 0 0"), "frame 1: species: unknown element 'Xx'"),
    "element-X.extxyz": (frame("Fe 0 0 0", "X 1 1 1"), "frame 0: species: atom 1 is of an unknown element"),
    "element-type.extxyz": (frame("1 0 0 0"), "frame 0: species: unknown element '1'"),
    "element-0.extxyz": (
        frame("0 0 0 0", comment=f"{CELL} Properties=Z:I:1:pos:R:3"),
        "frame 0: species: atom 0 is of an unknown element",
    ),
    "element-300.extxyz": (
        frame("300 0 0 0", comment=f"{CELL} Properties=Z:I:1:pos:R:3"),
        "frame 0: species: atom 0 is of an unknown element",
    ),
    "properties-no-triples.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} Properties=species:S:1:pos:R"),
        "frame 0: Properties: species:S:1:pos:R is not name:type:count triples",
    ),
    "properties-no-count.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} Properties=species:S:one:pos:R:3"),
        "frame 0: Properties: species:S:one:pos:R:3 is not name:type:count triples",
    ),
    "properties-no-value.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} Properties"),
        "frame 0: Properties: True is not name:type:count triples",
    ),
    "properties-unknown-type.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} Properties=species:S:1:pos:Q:3"),
        "frame 0: ASE cannot read it (ValueError: Unknown property type: Q)",
    ),
    "properties-without-positions.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} Properties=species:S:1:forces:R:3"),
        "frame 0: Properties: no column holds the positions: species, forces",
    ),
    "properties-without-species.extxyz": (
        frame("0 0 0", comment=f"{CELL} Properties=pos:R:3"),
        "frame 0: Properties: no column holds the species: pos",
    ),
    "columns-too-many.extxyz": (
        frame("Fe 0 0 0 9"),
        f"frame 0: line 3 has 5 columns instead of 4: {TRUNCATED}",
    ),
    "columns-too-few.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} {COLUMNS}:forces:R:3"),
        f"frame 0: line 3 has 4 columns instead of 7: {TRUNCATED}",
    ),
    "no-number.extxyz": (
        frame("Fe 0 0 0.5d0"),
        "frame 0: ASE cannot read it (ValueError: could not convert string to float: '0.5d0')",
    ),
    "open-quote.extxyz": (
        frame("Fe 0 0 0 1 1 1", comment=f"note=don't {CELL} {COLUMNS}:forces:R:3"),
        "frame 0: Lattice: ASE cannot see it: a quote before it is not closed",
    ),
    "lattice-misspelt.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL.lower()} {COLUMNS}"),
        "frame 0: lattice: the key is spelled Lattice",
    ),
    "properties-misspelt.extxyz": (
        frame("Fe 0 0 0 1 1 1", comment=f"{CELL} {COLUMNS.replace('P', 'p')}:forces:R:3"),
        "frame 0: properties: the key is spelled Properties",
    ),
    "latin-1.extxyz": (
        frame("Fe 0 0 0", comment=f"{CELL} {COLUMNS} who=Müller").encode("latin-1"),
        "frame 0: the text is not UTF-8",
    ),
    "binary.extxyz": (
        b"\x89PNG\r\n\xff\xfe\x00\x01" * 100,
        "line 1 should be the number of atoms, found bytes that are no text: not an extxyz file",
    ),
    "binary": (b"\x00\x01\xff\xfe" * 100, "the format is not recognised; ASE does not know it either"),
    "cut.extxyz.gz": (
        GZIPPED[: len(GZIPPED) - 20],
        "the gzip data are damaged or truncated (Compressed file ended before the end-of-stream marker was reached)",
    ),
    "cut-in-header.gz": (
        GZIPPED[:5],
        "the gzip data are damaged or truncated (Compressed file ended before the end-of-stream marker was reached)",
    ),
    "wrong-checksum.extxyz.gz": (GZIPPED[:-8] + b"\0" * 8, "the gzip data are damaged or truncated (CRC check failed"),
    "damaged.extxyz.gz": (
        GZIPPED[:20] + b"\xff" * 20 + GZIPPED[40:],
        "the gzip data are damaged or truncated (Error -3 while decompressing data",
    ),
    "empty.extxyz.gz": (gzip.compress(b""), "the file is empty"),
    "binary.traj": (b"\x00\x01\xff\xfe" * 100, "frame 0: ASE cannot read it as traj ("),
    "binary.db": (b"\x00\x01\xff\xfe" * 300, "frame 0: ASE cannot read it as db ("),
}


@pytest.fixture
def bad_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


@pytest.mark.parametrize("name", FAULTS)
def test_message_names_the_fault_and_its_place(bad_file, name):
    content, message = FAULTS[name]
    with pytest.raises(DataError) as raised:
        list(read_frames(bad_file(name, content)))
    said = str(raised.value)
    assert said.startswith(f"{name}: {message}")
    if not message.endswith(("(", "failed", "data", "but")):  # the rest is in ASE's or Python's words
        assert said == f"{name}: {message}"


@pytest.mark.parametrize("name", FAULTS)
def test_prune_stops_with_one_line_and_writes_nothing(bad_file, tmp_path, capsys, name):
    bad_file("good.extxyz", GOOD)
    bad_file(name, FAULTS[name][0])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "good.extxyz", name, "--keep", "1"])
    out, err = capsys.readouterr()
    assert stopped.value.code == 1
    assert out == ""
    assert err.startswith(f"mlff-curate: error: {name}: {FAULTS[name][1]}")
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_no_cut_inside_a_frame_goes_unnoticed(bad_file):
    # the example files have fixed columns, as ASE writes them
    text = (FIXED + FIXED).encode()
    first = len(FIXED)
    for length in range(first + 1, len(text) - 1):
        name = bad_file("cut.extxyz", text[:length])
        with pytest.raises(DataError, match=r"^cut\.extxyz: frame 1: .*(truncated|ASE cannot read it)"):
            list(read_frames(name))
    assert len(list(read_frames(bad_file("whole.extxyz", text[:-1])))) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch.extxyz", "no such file"),
        ("nosuch/md.extxyz", "no such file"),
        (".", "is a folder, not a file, and none of .*"),
    ],
)
def test_what_is_no_file_is_said(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"^{name}: {message}$"):
        list(read_frames(name))


def test_pipe_is_refused_before_any_work():
    reading, writing = os.pipe()
    try:
        with pytest.raises(DataError, match=rf"^/dev/fd/{reading}: is no regular file: files are read twice"):
            list(read_frames(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
        os.close(writing)


def test_file_without_permission_is_said(bad_file, tmp_path):
    name = bad_file("secret.extxyz", GOOD)
    (tmp_path / name).chmod(0)
    try:
        (tmp_path / name).read_bytes()
    except PermissionError:
        with pytest.raises(DataError, match=r"^secret\.extxyz: cannot be read \(Permission denied\)$"):
            list(read_frames(name))
    else:
        pytest.skip("this user may read everything")


def test_memory_does_not_follow_the_count_in_the_file(bad_file):
    name = bad_file("huge.extxyz", frame("Fe 0 0 0", count=10**15))
    tracemalloc.start()
    with pytest.raises(DataError, match="of 1000000000000000 atoms"):
        list(read_frames(name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
