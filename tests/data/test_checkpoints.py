"""A model file gives back what it was given, and anything else is refused in one line, without running it."""

import gzip
import json
import pickle
import struct
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from mlff_curate.data.checkpoints import FORMAT, Checkpoint, checkpoint_bytes, read_checkpoint
from mlff_curate.errors import DataError

ARRAYS = {
    "b.scale": np.array(0.1, np.float32),
    "a": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "count": np.array([-1, 2**40]),
    "none": np.zeros((0, 3), np.float32),
}
SETTINGS = {"rate": 0.1, "name": "é", "sizes": [1, 2], "inner": {"best": 1e-300, "k": 3, "flag": True, "nothing": None}}


def about(**changes):
    return json.dumps({"kind": "test", "format": FORMAT, "program": "0", "settings": {}} | changes)


def stored(text, arrays=None):
    return save(arrays or {"a": np.ones(2)}, metadata={"mlff_curate": text})


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(checkpoint_bytes("test", ARRAYS, SETTINGS))
    return path


def refused(path, contents, message):
    """The error is one line, that names the file."""
    path.write_bytes(contents)
    with pytest.raises(DataError, match=message) as error:
        read_checkpoint(path, "test")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_every_bit_comes_back(good):
    back = read_checkpoint(good, "test")
    assert back.settings == SETTINGS
    assert set(back.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert back.arrays[name].dtype == array.dtype
        assert back.arrays[name].shape == array.shape
        assert back.arrays[name].tobytes() == array.tobytes()
        assert back.arrays[name].flags.writeable


def test_the_same_contents_give_the_same_bytes_in_any_order_and_process(good):
    again = checkpoint_bytes(
        "test", dict(reversed(ARRAYS.items())), json.loads(json.dumps(dict(reversed(SETTINGS.items()))))
    )
    assert again == good.read_bytes()
    script = (
        "import sys, numpy as np; from mlff_curate.data.checkpoints import checkpoint_bytes as c\n"
        "sys.stdout.buffer.write(c('k', {'x': np.ones(2), 'y': np.ones(3)}, {'p': 1, 'q': 2, 'r': 3}))"
    )
    runs = {subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(runs) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_not_saved(value):
    with pytest.raises(DataError, match=r"^weight is not finite: training diverged"):
        checkpoint_bytes("test", {"weight": np.array([value])}, {})
    with pytest.raises(DataError, match=r"^a setting is not finite: training diverged"):
        checkpoint_bytes("test", {}, {"loss": [value]})


def test_no_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(DataError, match=r"nosuch: no such file$"):
        read_checkpoint(tmp_path / "nosuch", "test")
    with pytest.raises(DataError, match=r": is a folder, not a file$"):
        read_checkpoint(tmp_path, "test")


def test_a_file_cut_off_anywhere_is_refused(good):
    whole = good.read_bytes()
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        refused(good, whole[:size], "the file is empty|no model file|truncated")


def test_a_changed_byte_in_the_header_never_passes_as_another_kind_of_error(good):
    """Whatever the byte was, the file is read or refused as data."""
    whole = good.read_bytes()
    rng = np.random.default_rng(0)
    for place in range(8 + struct.unpack("<Q", whole[:8])[0]):
        damaged = bytearray(whole)
        damaged[place] = rng.integers(256)
        good.write_bytes(bytes(damaged))
        with suppress(DataError):
            read_checkpoint(good, "test")


class Bomb:
    """A pickle of this runs code when it is opened."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    refused(
        tmp_path / "m",
        pickle.dumps(Bomb(), protocol),
        "is no model file( but a pickle: such a file can run code|: a model of the| but text: )",
    )


def test_what_torch_saves_is_refused(tmp_path):
    for new, words in ((True, "zip archive, as torch.save writes"), (False, "but a pickle")):
        torch.save({"a": torch.ones(2)}, tmp_path / "torch", _use_new_zipfile_serialization=new)
        refused(tmp_path / "m", (tmp_path / "torch").read_bytes(), words)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", r"the file is empty$"),
        (b"junk", r"is no model file but text: a model of the kind 'test' is wanted$"),
        (
            b"2\n\nFe 0 0 0\nFe 1 1 1\n",
            r"is no model file but frames, as in extxyz: a model of the kind 'test' is wanted$",
        ),
        (b"\x00\x01" * 40, r"is no model file: a model of the kind 'test' is wanted$"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"is no model file but an HDF5 file"),
        (gzip.compress(b"x" * 100, mtime=0), r"is no model file but gzipped$"),
        (struct.pack("<Q", 2**63) + b"{}", r"is no model file: a model of the kind 'test' is wanted$"),
        (struct.pack("<Q", 100) + b"{" + b" " * 50, r"truncated: it ends within its header$"),
        (struct.pack("<Q", 4) + b"{oh}", r"its header is no JSON$"),
        (struct.pack("<Q", 10_000) + b'{"a":' * 2_000, r"its header is no JSON$"),
        (struct.pack("<Q", 2) + b"{}", r"is a safetensors file of another program$"),
        (save({"a": np.ones(2)}), r"is a safetensors file of another program$"),
        (save({"a": np.ones(2)}, metadata={"format": "pt"}), r"is a safetensors file of another program$"),
        (stored("{oh}"), r"its settings are no JSON$"),
        (stored("[]"), r"its format has no version$"),
        (stored(about(format="1")), r"its format has no version$"),
        (
            stored(about(format=FORMAT + 1, program="9.9")),
            r"has the format 2, written by mlff-curate 9\.9; this version \(.*\) reads format 1: make it ag",
        ),
        (stored(about(format=0, program="0.0.1")), r"has the format 0, written by mlff-curate 0\.0\.1; this version"),
        (stored(about(kind="cgcnn")), r"is a model of the kind 'cgcnn': a model of the kind 'test' is wanted$"),
        (stored(about(kind="meagraph")), r"is a model of embeddings \(of embed --save-model\): a model of the kind"),
        (stored(about(settings=[])), r"it has no settings$"),
        (stored(about(settings={"a": float("nan")})), r"its settings are no JSON$"),
        (stored(about().replace("{}", '{"a": [1e999]}')), r"a setting is not finite$"),
        (stored(about(), {"a": np.array([1.0, np.nan])}), r"the array a is not finite$"),
        (stored(about(), {"a": np.ones(2, np.int8)}), r"the array a holds I8, which no model has$"),
        (stored(about()) + b"more", r"longer than its header says: \d+ bytes are expected$"),
        (stored(about())[:-1], r"the model file is truncated: \d+ bytes are expected$"),
        (stored(about()).replace(b'"shape":[2]', b'"shape":[3]'), r"the model file is damaged \("),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, contents, message):
    refused(tmp_path / "m", contents, message)


def test_a_header_that_claims_gigabytes_is_not_believed(tmp_path):
    """Neither by its length nor by what it says of the arrays."""
    claim = stored(about()).replace(b"[0,16]", b"[0,16000000000]")
    length = struct.pack("<Q", struct.unpack("<Q", claim[:8])[0] + 9)
    refused(tmp_path / "m", length + claim[8:], "truncated: 16000000")


def checkpoint(**arrays):
    return Checkpoint("m", arrays, {"n": 3, "x": 0.5, "flag": True, "in": {"word": "w"}})


WANTED = {"x": ("float32", ("N", "D")), "y": ("int64", ("N",))}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, r"the array y is missing$"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(2, np.int64)}, r"the array x holds float64, not float32$"),
        (
            {"x": np.zeros(2, np.float32), "y": np.zeros(2, np.int64)},
            r"the array x has the shape \(2,\), not \('N', 3\)$",
        ),
        (
            {"x": np.zeros((2, 3), np.float32), "y": np.zeros(4, np.int64)},
            r"the array y has the shape \(4,\), not \(2,\)$",
        ),
        (
            {"x": np.zeros((2, 4), np.float32), "y": np.zeros(2, np.int64)},
            r"the array x has the shape \(2, 4\), not \(2, 3\)$",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays, message):
    with pytest.raises(DataError, match=r"^m: was written by another state of mlff-curate .*: " + message):
        checkpoint(**arrays).require_arrays(WANTED, {"D": 3})


def test_an_array_that_nobody_knows_is_named():
    fine = checkpoint(x=np.zeros((2, 3), np.float32), y=np.zeros(2, np.int64), z=np.zeros(1))
    fine.require_arrays(WANTED)
    with pytest.raises(DataError, match=r"the array z is not known$"):
        fine.require_no_more(WANTED)


def test_settings_are_what_they_are_asked_to_be():
    fine = checkpoint()
    assert (fine.setting("n", int), fine.setting("n", float), fine.setting("in.word", str)) == (3, 3.0, "w")
    for name, kind, message in (
        ("x", int, "the setting x is '0.5'"),
        ("flag", int, "the setting flag is 'True'"),
        ("in.nothing", str, "the setting in.nothing is missing"),
        ("n.deeper", str, "the setting n.deeper is missing"),
    ):
        with pytest.raises(DataError, match=f"{message}$"):
            fine.setting(name, kind)


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    """Finite numbers of the right shape would else embed wrongly without a word."""
    path = tmp_path / "model"
    contents = bytearray(checkpoint_bytes("meagraph", {"w": np.arange(16, dtype=np.float32)}, {"link": 6.0}))
    contents[-3] ^= 1
    path.write_bytes(contents)
    with pytest.raises(DataError, match=r"damaged: its contents do not match its checksum$"):
        read_checkpoint(path, "meagraph")


def test_an_edited_setting_is_found(tmp_path):
    path = tmp_path / "model"
    contents = checkpoint_bytes("meagraph", {"w": np.arange(16, dtype=np.float32)}, {"link": 6.0})
    path.write_bytes(contents.replace(b"6.0", b"9.0"))
    with pytest.raises(DataError, match=r"damaged: its contents do not match its checksum$"):
        read_checkpoint(path, "meagraph")


def test_a_header_that_asks_for_more_than_there_is_takes_no_memory(tmp_path):
    path = tmp_path / "model"
    contents = checkpoint_bytes("meagraph", {"w": np.arange(16, dtype=np.float32)}, {})
    assert b"[0,64]" in contents
    head = contents.replace(b"[0,64]", b"[0,%d]" % 2**39)
    size = int.from_bytes(contents[:8], "little") + len(head) - len(contents)
    path.write_bytes(size.to_bytes(8, "little") + head[8:])
    with pytest.raises(DataError, match="the model file is truncated"):
        read_checkpoint(path, "meagraph")


def test_a_number_of_no_sensible_size_is_refused(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(checkpoint_bytes("meagraph", {}, {"link": 10**400}))
    with pytest.raises(DataError, match=r"a setting is a number of no sensible size$"):
        read_checkpoint(path, "meagraph")
