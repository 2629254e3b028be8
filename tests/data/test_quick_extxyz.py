"""What is read quickly is, in every bit and type, what ASE reads; ASE reads the rest."""

import io
import itertools
import random
import threading
import tracemalloc

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import key_val_str_to_dict

from mlff_curate import read_frames
from mlff_curate.data import extxyz, quick_extxyz
from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.extxyz_comment import read_comment
from mlff_curate.data.real_numbers import read_words
from mlff_curate.errors import DataError

CELL = 'Lattice="3.5 0.0 0.0 0.25 3.5 0.0 0.0 -0.0 3.5"'


def told(value):
    """All that a value holds, types and bits included, as something that can be compared."""
    if isinstance(value, Atoms):
        calc = None if value.calc is None else {k: v for k, v in vars(value.calc).items() if not callable(v)}
        parts = [value.arrays, value.info, value.cell.array, value.pbc, value.get_celldisp(), calc]
        return type(value), sorted(vars(value)), len(value.constraints), [told(part) for part in parts]
    if isinstance(value, dict):
        return type(value), {key: told(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [told(item) for item in value]
    if isinstance(value, np.ndarray):
        held = told(value.tolist()) if value.dtype == object else value.tobytes()
        return type(value), value.dtype.str, value.shape, held
    return type(value), value.tobytes() if isinstance(value, np.generic) else value


def by_ase(text):
    return ase.io.read(io.StringIO(text.decode()), format="extxyz")


def quickly(text):
    """The quick reading without the judge, None where it leaves the frame to ASE."""
    try:
        read = quick_extxyz._read(text)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        return None
    return None if read is None else read[0]


@pytest.fixture
def left_to_ase(monkeypatch):
    """Count the frames that ASE reads."""
    monkeypatch.setattr(quick_extxyz, "_judged", {})
    calls = []
    read = extxyz._parse_with_ase
    monkeypatch.setattr(extxyz, "_parse_with_ase", lambda *args: calls.append(args) or read(*args))
    return calls


KEYS = ["energy", "free_energy", "stress", "virial", "dipole", "magmom", "REF_energy", "a-b", "_x", "uid", "UID", "pbc"]
KEYS += ["config_type", "step", "note", "charges", "forces", "Lattice", "Properties", "lattice", "9lives", "é", "a.b"]
SCALARS = [
    "1",
    "-7",
    "+3",
    "007",
    "1_000",
    "9" * 18,
    "9" * 19,
    "9" * 400,
    "-0",
    "1.5",
    "-0.0",
    "+2.",
    ".5",
    "1e5",
    "-1E-3",
]
SCALARS += [
    "1.5e400",
    "1.e-400",
    "nan",
    "-nan",
    "inf",
    "Infinity",
    "1d5",
    "0x10",
    "1.5.2",
    "--1",
    "1,2",
    "1.5,x",
    ",",
    "5e",
]
SCALARS += [
    "T",
    "F",
    "true",
    "FALSE",
    "t",
    "f",
    "None",
    "bulk",
    "T1",
    "Nan1",
    "a,b",
    "T,F",
    "a:b/c#1",
    "é",
    "_JSON",
    "x=y",
]
ROWS = ["1 2 3", "1.5 2 3", "1.5  2.5", " 1.5", "1.5 ", "1.5 x", "T T F", "T 1", "nan 1.5", "1 2 3 4 5 6 7 8 9", ""]
ROWS += [
    " ".join(f"{i / 7:.12f}" for i in range(9)),
    " ".join(f"{i / 7:.3e}" for i in range(9)),
    "1.5,2.5,3.5",
    "1.5 [2.5]",
]
ROWS += [
    " ".join(["-0.0"] * 9),
    " ".join(["-0"] * 9),
    "1.5 2.5 3.5 4.5 5.5 6.5 7.5 8.5 9",
    "[1.5 2.5]",
    "{a}",
    "it's",
    "a=b c",
]
ROWS += [
    r"_JSON [1, 2]",
    r"_JSON {\"a\": [1.5, null]}",
    r"_JSON [[1, 2], [3, 4]]",
    r"say \"so\"",
    "tab\there",
    "a\\b",
    "\x1c",
]


def odd_comment(rng):
    """Some keys with plain and odd values, in plain and odd notations."""
    pairs = []
    for key in rng.sample(KEYS, rng.randint(0, 5)):
        value = rng.choice(SCALARS if rng.random() < 0.6 else ROWS)
        form = rng.choice(
            ['{}="{}"', '{}="{}"', "{}={}", "{}={}", "{}='{}'", "{}=[{}]", "{} = {}", '{}="{}"x', "{}", "{}="]
        )
        pairs.append(form.format(key, value))
    return rng.choice([" ", " ", " ", "  ", "\t"]).join(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_comment_lines_mean_what_ase_says(seed):
    rng = random.Random(seed)
    for _ in range(400):
        comment = odd_comment(rng).strip() or "step"  # ASE does not look at an empty one
        try:
            expected = told(key_val_str_to_dict(comment))
        except Exception as error:  # noqa: BLE001 - of many kinds
            with pytest.raises(type(error)):
                read_comment(comment)
        else:
            assert told(read_comment(comment)) == expected, comment


def test_values_are_not_shared_between_frames():
    comment = 'pbc="T T F" group="1 2 3" data="_JSON [[null, 1], [2, 3]]" row="1.5 2.5"'
    one, two = read_comment(comment), read_comment(comment)
    for key, value in one.items():
        value[0] = 9
        assert told(two[key]) == told(read_comment(comment)[key])


REALS = ["%16.8f", "%.17g", "%.3e", "%8.3f", "%+.2f", "%g", "%.0f.", "%d"]
EXTRA = [
    ("forces", "R", 3),
    ("tag", "I", 1),
    ("bonds", "I", 2),
    ("label", "S", 1),
    ("names", "S", 2),
    ("fixed", "L", 1),
]
EXTRA += [("mask", "L", 3), ("magmoms", "R", 1), ("energies", "I", 1), ("initial_magmoms", "R", 1), ("charge", "R", 1)]
EXTRA += [
    ("initial_charges", "R", 1),
    ("move_mask", "L", 1),
    ("mass", "R", 1),
    ("pos0", "R", 1),
    ("energy", "R", 1),
    ("s", "R", 9),
]


def odd_frame(rng):
    """A frame of any columns and number formats, now and then with a fault in it."""
    columns = [
        rng.choice([("species", "S", 1), ("species", "S", 1), ("species", "S", 1), ("Z", "I", 1)]),
        ("pos", "R", 3),
    ]
    columns += rng.sample(EXTRA, rng.choice([0, 1, 1, 2, 3]))
    if rng.random() < 0.2:
        rng.shuffle(columns)
    form, gap = rng.choice(REALS), rng.choice([" ", " ", "   ", "\t"])
    elements = rng.choice([["Ta"], ["H", "He"], ["W", "Fe", "C"], ["fe", "FE"], ["F"]])

    def cell(kind):
        if kind == "S":
            return rng.choice(elements)
        if kind == "L":
            return rng.choice("TF")
        return str(rng.randint(1, 90)) if kind == "I" else form % (rng.gauss(0, 3) * rng.choice([0, 1, 1, -1e-9]))

    n = rng.choice([1, 2, 5, 30])
    rows = [[f"{cell(kind):<2}" for _, kind, count in columns for _ in range(count)] for _ in range(n)]
    if rng.random() < 0.3:
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(
            [
                "nan",
                "-nan",
                "inf",
                "1_0",
                "1e999",
                "[1.5]",
                "1.5,2.5",
                "1.5 2.5",
                "Xx",
                "T",
                "-0",
                "5.",
                ".5",
                "\x1c",
                '"1.5"',
            ]
        )
    declared = ":".join(f"{name}:{kind}:{count}" for name, kind, count in columns)
    lines = [gap.join(row) + rng.choice(["", "", "", " ", "\r"]) for row in rows]
    return f"{n}\n{CELL} Properties={declared} {odd_comment(rng)}\n{chr(10).join(lines)}\n".encode()


@pytest.mark.parametrize("seed", range(20))
def test_what_is_read_quickly_is_what_ase_reads(seed):
    rng = random.Random(seed)
    read = 0
    for _ in range(200):
        text = odd_frame(rng)
        found = quickly(text)
        if found is not None:
            read += 1
            assert told(found) == told(by_ase(text)), text
    assert read > 40  # the quick way is taken, or this test says nothing


def frame(*atoms, comment=f"{CELL} Properties=species:S:1:pos:R:3"):
    return "\n".join([str(len(atoms)), comment, *atoms, ""]).encode()


@pytest.mark.parametrize(
    "atoms",
    [
        ("Fe 0.5 0.5 0.5 Fe 0.5", "0.5 0.5"),  # as many words as there should be
        ("Fe 0.5 0.5", "0.5 Fe 0.5 0.5 0.5"),
        ("H  1.5 0.5 0.5", "H11.5 0.5 0.5"),  # in the columns of the first line
        ("Fe 1.5 0.5 0.5", "Fe 1.5,0.5 0.5"),
        ("Fe 1.5 0.5 0.5", "Fe 1.5 0.55555"),
        ("Fe 1.5 0.5 0.5", "Fe 1. 50.5 0.5"),
    ],
)
def test_a_line_with_another_number_of_columns_is_never_read(atoms):
    text = frame(*atoms)
    assert quickly(text) is None or told(quickly(text)) == told(by_ase(text))
    if len({len(line.split()) for line in atoms}) > 1:
        with pytest.raises(DataError, match="columns instead of 4"):
            parse_frame(text, "md", 0)


@pytest.mark.parametrize("place", range(24))
def test_no_damage_to_one_character_is_read_otherwise_than_by_ase(place):
    atoms = ("Fe     0.10000000    -0.20000000     1.50000000", "C     10.10000000     0.25000000    -1.50000000")
    line = atoms[1]
    for mark in ' .-+eE,[]{}"\t\x000x':
        text = frame(atoms[0], line[: 2 * place] + mark + line[2 * place + 1 :])
        found = quickly(text)
        assert found is None or told(found) == told(by_ase(text)), text


def test_numbers_are_rounded_as_python_rounds_them():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, size=20000, dtype=np.uint64).view(np.float64)
    values = [float(v) for v in bits[np.isfinite(bits)]]
    words = [form % v for v, form in zip(values, itertools.cycle([b"%.16e", b"%.25e", b"%.5e"]), strict=False)]
    words += [b"%.20f" % (v * 10.0**e) for v, e in zip(rng.normal(size=5000), rng.integers(-8, 9, 5000), strict=True)]
    words += [b"-0.0", b"9007199254740993.0", b"1.7976931348623158e308", b"2.4703282292062327e-324", b"2.5e-324"]
    assert read_words(words).tobytes() == np.array([float(word) for word in words]).tobytes()


@pytest.mark.parametrize("words", [[b"1.5", b"-0"], [b"5.", b".5", b"+1.0"], [b"nan", b"inf"], [b"1.5", b"2"]])
def test_numbers_that_are_not_those_of_json_are_pythons(words):
    assert read_words(words).tobytes() == np.array([float(word) for word in words]).tobytes()


@pytest.mark.parametrize("words", [[b"[1.5]"], [b"1.5,2.5"], [b'"1.5"'], [b"x.y"], [b"1.5", b"1.5d0"], [b"{1.5}"]])
def test_what_is_no_number_is_refused(words):
    with pytest.raises(ValueError, match="could not convert"):
        read_words(words)


def test_numbers_are_read_in_several_threads_at_a_time():
    words = [b"%.8f" % (i / 7) for i in range(200)]
    expected, wrong = read_words(words).tobytes(), []

    def work():
        wrong.extend(i for i in range(50) if read_words(words).tobytes() != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_ase_reads_the_first_frame_of_each_pattern(left_to_ase):
    for _ in range(5):
        parse_frame(frame("Fe 0.5 0.5 0.5", comment=f"{CELL} energy=1.5"), "md", 0)
        parse_frame(frame("Fe 0.5 0.5 0.5", comment=f"{CELL} energy=1.5 step=1"), "md", 0)
    assert len(left_to_ase) == 2


@pytest.mark.usefixtures("left_to_ase")
def test_where_ase_reads_something_else_it_has_the_word(monkeypatch):
    read = extxyz._parse_with_ase

    def later(*args):
        atoms = read(*args)
        atoms.info["new"] = True  # as if the next ASE added something
        return atoms

    monkeypatch.setattr(extxyz, "_parse_with_ase", later)
    texts = [frame(f"Fe 0.5 0.5 0.{i}") for i in range(5)]
    assert all(parse_frame(text, "md", 0).info == {"new": True} for text in texts)


def test_the_judge_sees_every_difference():
    def made():
        atoms = Atoms(
            "Fe2", positions=np.ones((2, 3)), cell=np.eye(3), pbc=True, info={"a": np.float64(1.5), "b": [True]}
        )
        atoms.arrays["names"] = np.array(["x", "y"], dtype=object)
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((2, 3)))
        return atoms

    def changed(change):
        atoms = made()
        change(atoms)
        return atoms

    assert quick_extxyz.same_content(made(), made())
    changes = [
        lambda a: a.info.update(a=1.5),
        lambda a: a.info.update(c=1),
        lambda a: a.info.update(b=[1]),
        lambda a: a.positions.__setitem__((0, 0), -1.0),
        lambda a: a.arrays.update(numbers=a.numbers.astype(np.int32)),
        lambda a: a.arrays["names"].__setitem__(1, "z"),
        lambda a: a.set_pbc([True, True, False]),
        lambda a: a.cell.__setitem__((0, 0), 1 + 1e-15),
        lambda a: a.calc.results.update(energy=np.float64(1.0)),
        lambda a: a.calc.results["forces"].__setitem__((1, 1), np.nextafter(1, 2)),
        lambda a: a.calc.results.pop("forces"),
        lambda a: a.calc.atoms.positions.__setitem__((0, 0), -1.0),
        lambda a: setattr(a.calc, "label_of_mine", 1),
        lambda a: setattr(a, "calc", None),
        lambda a: setattr(a, "note", 1),
        lambda a: a.set_celldisp([0, 0, 1]),
    ]
    for change in changes:
        assert not quick_extxyz.same_content(made(), changed(change))
        assert not quick_extxyz.same_content(changed(change), made())


def test_frames_do_not_share_memory():
    text = frame("Fe 0.5 0.5 0.5 1.5 1.5 1.5", comment=f"{CELL} Properties=species:S:1:pos:R:3:forces:R:3 energy=1.5")
    parse_frame(text, "md", 0)
    one = parse_frame(text, "md", 0)
    before = told(parse_frame(text, "md", 0))
    one.positions[:], one.cell[:], one.pbc[:], one.numbers[:] = 9, 9, False, 9
    one.calc.results["forces"][:] = 9
    assert told(one.calc.atoms.positions) == told(np.full((1, 3), 0.5))
    assert told(parse_frame(text, "md", 0)) == before


@pytest.mark.parametrize("block", [1, 7, 64, 2**18])
def test_frames_are_cut_alike_whatever_is_read_at_a_time(monkeypatch, block):
    monkeypatch.setattr(extxyz, "_BLOCK", block)
    rng = random.Random(0)
    texts = [odd_frame(rng) for _ in range(20)]
    found = [part.text for part in extxyz.split_frames(io.BytesIO(b"\n \n".join(texts)), "md")]
    assert found == texts


def test_memory_is_that_of_a_block_and_not_of_the_file(tmp_path):
    text = frame(*(f"Fe {i:.8f} 0.00000000 0.50000000" for i in range(100)))
    (tmp_path / "md.extxyz").write_bytes(text * 2000)  # 7 MB
    list(zip(read_frames(tmp_path / "md.extxyz"), range(5), strict=False))  # what is loaded once
    tracemalloc.start()
    count = sum(1 for _ in read_frames(tmp_path / "md.extxyz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert peak < 2 * 2**20


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020", "fe_npj2021"])
def test_published_sets_are_read_as_ase_reads_them(real_data, left_to_ase, name):
    path = real_data / f"{name}.extxyz"
    expected = ase.io.read(path, index=":")
    frames = list(read_frames(path))
    assert len(frames) == len(expected)
    assert all(told(a.atoms) == told(b) for a, b in zip(frames, expected, strict=True))
    assert len(left_to_ase) <= 3  # all but the first of each pattern are read quickly
