"""Pickles read without running them: what they hold, what they may not do, and what they may not cost."""

import codecs
import io
import os
import pickle
import pickletools
import random
import subprocess
import sys
import zipimport

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datarobust.datasets import unpickle
from datarobust.datasets.files import Raw, raw_file
from datarobust.datasets.unpickle import Numbers, Unpickler, array_of
from datarobust.errors import DataError

from .releases import python2, python3

RNG = np.random.default_rng(0)
WRITERS = {
    **{f"python 3, protocol {protocol}": python3(protocol) for protocol in range(6)},
    **{f"python 2, protocol {protocol}": python2(protocol) for protocol in (0, 1, 2)},
    "python 2, Fortran": python2(2, fortran=True),
}


def raw(data, where="set.pickle"):
    return Raw(where, len(data), lambda: io.BufferedReader(io.BytesIO(data)))


def load(data):
    """The value of a pickle, with NumPy's arrays in it."""
    return plain(unpickle.load(raw(data)))


def plain(value):
    match value:
        case Numbers(value=np.ndarray()):
            return array_of(value, "x")
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(plain, value))
    return value


# ---------------------------------------------------------------------------------------------------- what is read

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from(["x" * 5000, b"\0'\\\n\r\xff" * 2000])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=30)
@given(VALUES, st.integers(0, 5))
def test_plain_values_are_what_pickle_reads(value, protocol):
    assert load(pickle.dumps(value, protocol)) == value


def test_the_words_of_python_2_are_bytes():
    value = {"a": ["x", b"\xff'\"\\\n\t\0", "y" * 300, "z" * 5000], "n": [0, -5, 70000, None, True], "t": ((), ("q",))}
    expected = {
        "a": [b"x", b"\xff'\"\\\n\t\0", b"y" * 300, b"z" * 5000],
        "n": [0, -5, 70000, None, True],
        "t": ((), (b"q",)),
    }
    for protocol in (0, 1, 2):
        data = python2(protocol)(value)
        assert load(data) == expected
        assert pickle.loads(data, encoding="bytes") == {key.encode(): item for key, item in expected.items()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("shape", [(7, 3), (5,), (4, 3, 2), (3000, 2), (0, 4)])
@pytest.mark.parametrize("dtype", ["<u1", ">i8", "<f4"])
def test_arrays(writer, shape, dtype):
    array = RNG.integers(0, 256, shape).astype(dtype)
    data = WRITERS[writer]({"data": array})
    np.testing.assert_array_equal(pickle.loads(data, encoding="latin1")["data"], array)  # the writers are right
    found = load(data)["data"]
    assert (found.dtype, found.shape) == (np.dtype(dtype[1:]), shape)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_whose_axes_lie_in_another_order(protocol):
    array = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    for other in (np.asfortranarray(array), array.transpose(0, 3, 1, 2), array.transpose(2, 0, 1, 3), array[::2]):
        np.testing.assert_array_equal(load(pickle.dumps(other, protocol)), other)


def test_numpy_numbers_and_shared_values():
    shared = ["x"]
    value = {"a": shared, "b": [shared, np.int64(-3), np.float32(0.5), np.bool_(True)]}
    for protocol in range(6):
        found = load(pickle.dumps(value, protocol))
        assert found == {"a": ["x"], "b": [["x"], -3, 0.5, True]}


def test_labels_are_lists_or_arrays():
    numbers = [0, 5, -1, 2**40]
    for value in (numbers, np.array(numbers)):
        found = array_of(unpickle.load(raw(pickle.dumps(value, 4))), "labels")
        assert (found.dtype, found.tolist()) == (np.int64, numbers)
    for value, words in {
        (1, 2): "is not an array",
        "text": "is not an array",
        (0, True): r"is not an array",
    }.items():
        with pytest.raises(DataError, match=f"labels {words}"):
            array_of(value, "labels")
    with pytest.raises(DataError, match=r"labels\[1\] is not an integer"):
        array_of([0, True], "labels")
    with pytest.raises(DataError, match=r"labels\[0\] is not an integer"):
        array_of([[0]], "labels")
    for number in (2**63, 2**2000):
        with pytest.raises(DataError, match="more than 64 bits"):
            array_of(unpickle.load(raw(pickle.dumps([number], 4))), "labels")


# ------------------------------------------------------------------------------------------------ what is not run


class Calls:
    """Pickled as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class State(dict):
    """Pickled with a class of ours."""


def hostile(marker):
    """Name of what is wanted -> an object whose unpickling leaves the marker, or could."""
    touch, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    return {
        "system": Calls(os.system, touch),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "getattr": Calls(getattr, "x", "join"),
        "bytearray": Calls(bytearray, 10**6),
        "open": Calls(open, str(marker), "w"),
        "Popen": Calls(subprocess.Popen, ["touch", str(marker)]),
        "load": Calls(np.load, str(marker)),
        "fromfile": Calls(np.fromfile, str(marker)),
        "lookup": Calls(codecs.lookup, "zip"),
        "zipimporter": Calls(zipimport.zipimporter, str(marker)),
        "class": State(),
    }


def test_hostile_pickles_would_run(tmp_path):
    """The test of the tests: these objects do what they should not be let do."""
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(hostile(marker)["system"]))
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", hostile("marker"))
def test_hostile_pickles_are_refused_and_not_run(tmp_path, name, protocol):
    marker = tmp_path / "marker"
    for value in (hostile(marker)[name], {"data": np.arange(9), "labels": [hostile(marker)[name]]}):
        path = tmp_path / "set.pickle"
        path.write_bytes(pickle.dumps(value, protocol))
        wanted = {"class": r"\S*(State|_reconstructor)"}.get(name, rf"\S+\.{name}")
        with pytest.raises(DataError, match=rf"{path} wants {wanted}, which is not data; .* nothing of it was run"):
            unpickle.load(raw_file(path))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"(S'touch MARK'\niposix\nsystem\n.", "INST, which makes objects"),
        (b"(cposix\nsystem\nS'touch MARK'\no.", "wants posix.system"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\nS'touch MARK'\x85R.", "wants posix.system"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "NEWOBJ, which makes objects"),
        (b"\x80\x04cnumpy\ndtype\n)}\x92.", "NEWOBJ_EX, which makes objects"),
        (b"(cnumpy\ndtype\no.", "OBJ, which makes objects"),
        (b"(inumpy\ndtype\n.", "INST, which makes objects"),
        (b"Pname\n.", "PERSID"),
        (b"NQ.", "BINPERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\x8f.", "EMPTY_SET"),
        (b"cos.path\n__loader__\n.", "wants os.path.__loader__"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "wants __builtin__.eval"),
        (b"ccopy_reg\n_reconstructor\n.", "wants copy_reg._reconstructor"),
        (b"cnumpy\ndtype.__class__\n.", "wants numpy.dtype.__class__"),
        (b"cx\x1b[31m\ny\n.", r"wants x\\x1b\[31m.y"),
        (b"(dS'__class__'\nNb.", "sets the state of an object"),
        (b"(l(lb.", "sets the state of an object"),
        (b"S'f'\n)R.", "wants to call what is not a function"),
        (b"cnumpy\nndarray\n(I9999999999\ntR.", "calls numpy.ndarray with arguments"),
        (b"c__builtin__\nbytes\n(I9999999999\ntR.", "calls builtins.bytes with arguments"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "calls _codecs.encode with arguments"),
        (b"c_codecs\nencode\n(Vx\nVzip\ntR.", "calls _codecs.encode with arguments"),
        (b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.", "array of Python objects"),
        (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.", "dtype V8, which is neither numbers nor text"),
        (b"cnumpy\ndtype\n(S'f3'\nI0\nI1\ntR.", "dtype f3, which does not exist"),
        (b"cnumpy\ndtype\n(S'u1,u1'\nI0\nI1\ntR.", "dtype u1,u1"),
    ],
)
def test_instructions_that_are_refused(tmp_path, program, words):
    marker = tmp_path / "marker"
    with pytest.raises(DataError, match=f"set.pickle .*{words}"):
        load(program.replace(b"MARK", str(marker).encode()))
    assert not marker.exists()


def test_no_instruction_is_forgotten():
    """Of all that Python knows, these make objects or share state, and all others are read."""
    left = {op.name for op in pickletools.opcodes if ord(op.code) not in Unpickler.instructions}
    refused = "INST OBJ NEWOBJ NEWOBJ_EX PERSID BINPERSID EXT1 EXT2 EXT4 NEXT_BUFFER READONLY_BUFFER LONG4"
    assert left == {*refused.split(), "EMPTY_SET", "ADDITEMS", "FROZENSET"}


# ----------------------------------------------------------------------------------------------- what is not true


def use(data):
    """Load a pickle and read what may be its arrays."""
    value = unpickle.load(raw(data))
    for item in value.values() if isinstance(value, dict) else [value]:
        array_of(item, "set.pickle").sum()


def damaged(program):
    with pytest.raises(DataError) as caught:
        load(program)
    return str(caught.value)


@pytest.mark.parametrize("writer", WRITERS)
def test_truncation_is_told_wherever_it_is(writer):
    data = WRITERS[writer]({"labels": [0, 1, 300, 70000], "data": RNG.integers(0, 256, (3, 2000), dtype=np.uint8)})
    load(data)
    for size in (*range(0, 200, 2), *range(200, len(data), 97), *range(len(data) - 60, len(data), 3)):
        assert "set.pickle" in damaged(data[:size])
    assert "goes on after its end" in damaged(data + b"\0")


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(WRITERS)), st.integers(0, 2**32))
def test_damage_is_an_error_of_the_data_or_another_value(writer, seed):
    data = bytearray(
        WRITERS[writer]({"labels": [0, 1, 300, 7], "data": np.arange(6000, dtype=np.uint8).reshape(2, -1)})
    )
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(min(len(data), 400)) * dice.choice((1, -1))
        match dice.randrange(3):
            case 0:
                data[place] = dice.randrange(256)
            case 1:
                del data[place]
            case _:
                data.insert(place, dice.randrange(256))
    try:
        use(bytes(data))
    except DataError as error:
        assert str(error).startswith("set.pickle")  # noqa: PT017 - many a change is another value, and no error


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_noise_is_an_error_of_the_data_or_a_value(noise):
    try:
        use(noise)
    except DataError as error:
        assert str(error).startswith("set.pickle")  # noqa: PT017


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"", "is cut short"),
        (b"N", "is cut short"),
        (b".", "is damaged"),
        (b"NN.", "is damaged"),
        (b"(N.", "ends within a list"),
        (b"0.", "is not a pickle, or is damaged"),
        (b"h\x05.", "is not a pickle, or is damaged"),
        (b"\xff.", "is not a pickle, or is damaged"),
        (b"<html>", "is not a pickle, or is damaged"),
        (b"\x80\x06N.", "is not a pickle"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "is cut short"),
        (b"B\xff\xff\xff\x7fx.", "claims 2,147,483,647 bytes, but ends after 2"),
        (b"T\xff\xff\xff\xffx.", "is not a pickle, or is damaged"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffx.", "is not a pickle, or is damaged"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "claims 9,223"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "claims 9,223"),
        (b"\x8b\xff\xff\xff\x7f.", "LONG4"),
        (b"L" + b"9" * 5000 + b"L\n.", "is not a pickle, or is damaged"),
        (b"Ix\n.", "is not a pickle, or is damaged"),
        (b"Fx\n.", "is not a pickle, or is damaged"),
        (b"S'x\n.", "is not a pickle, or is damaged"),
        (b"Sx'\n.", "is not a pickle, or is damaged"),
        (b"S'\n.", "is not a pickle, or is damaged"),
        (b"S'" + b"x" * 9000 + b"\n.", "is not a pickle, or is damaged"),
        (b"S'" + b"x" * 9000, "is cut short"),
        (b"S'\\x4'\n.", "is not a pickle, or is damaged"),
        (b"X\x01\0\0\0\xff.", "is not a pickle, or is damaged"),
        (b"(d(lNs.", "a dict whose keys are no text"),
        (b"(dI5\nNs.", "a dict whose keys are no text"),
        (b"(dS'\xff'\nNs.", "a dict whose keys are no text"),
        (b"(dS'a'\nNsVa\nNs.", "has the key a twice"),
        (b"NNNs.", "sets an item of what is not a dict"),
        (b"}(Nu.", "sets an item of what is not a dict"),
        (b"NNa.", "appends to what is not a list"),
    ],
)
def test_programs_that_make_no_sense(program, words):
    assert words in damaged(program)


def array_program(shape, data, dtype=b"u1", fortran=b"I00\n"):
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n" + shape + b"cnumpy\ndtype\n(S'"
        + dtype + b"'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb" + fortran + data + b"tb."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (array_program(b"(I1000000000000\ntR"[:-1], b"S'abc'\n"), "claims 1,000,000,000,000 bytes for an array"),
        (array_program(b"(I4\nt", b"S'abc'\n"), "claims 4 bytes for an array 4 of uint8, but has 3"),
        (array_program(b"(I2\nt", b"S'abc'\n"), "claims 2 bytes for an array 2 of uint8, but has 3"),
        (array_program(b"(I2\nt", b"S'abcd'\n", b"i8"), "claims 16 bytes"),
        (array_program(b"(I-3\nt", b"S'abc'\n"), "a shape that no array has"),
        (array_program(b"(I01\nt", b"S'a'\n"), "a shape that no array has"),
        (array_program(b"(S'3'\nt", b"S'abc'\n"), "a shape that no array has"),
        (array_program(b"(" + b"I1\n" * 33 + b"t", b"S'a'\n"), "a shape that no array has"),
        (array_program(b"(I3\nt", b"Vabc\n"), "sets the state of an object"),
        (array_program(b"(I5000\nt", b"V" + b"a" * 5000 + b"\n"), "sets the state of an object"),
        (array_program(b"(I9000\nt", b"S'" + b"a" * 8000 + b"'\n"), "claims 9,000 bytes"),
        (
            array_program(b"(I7000\nt", b"S'" + b"a" * 8000 + b"'\n"),
            "claims 7,000 bytes for an array 7000 of uint8, but has 8,000",
        ),
        (
            array_program(b"(I7000\nt", b"S'" + b"\\x41" * 6000 + b"'\n"),
            "claims 7,000 bytes for an array 7000 of uint8, but has 6,000",
        ),
        (array_program(b"(I7000\nt", b"S'" + b"\\x4" * 6000 + b"'\n"), "is not a pickle, or is damaged"),
        (b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'?'\nNNNI-1\nI-1\nI0\ntb.", "unknown byte order"),
        (b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\ntNI-1\nI-1\nI0\ntb.", "an array of records"),
        (b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntRS'abc'\ntR.", "number of a wrong size"),
        (
            b"cnumpy.core.numeric\n_frombuffer\n(S'ab'\ncnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I2\ntS'Z'\ntR.",
            "_frombuffer with arguments",
        ),
    ],
)
def test_arrays_that_are_not_what_they_claim(program, words):
    assert words in damaged(program)


# ---------------------------------------------------------------------------------------------- what it may cost


def test_bombs_are_bounded(monkeypatch):
    monkeypatch.setattr(unpickle._Dispatch, "left", 10_000)
    for program in (
        b"]" * 20_000,
        b"(" * 20_000,
        b"]" + b"\x94" * 20_000,
        b"](" + b"N" * 20_000 + b"e.",
        b"N2" * 10_000,
    ):
        assert "more values than any data set" in damaged(program)
    deep = raw(b"\x80\x04]" + b"]" * 4000 + b"a" * 4000 + b".")
    assert isinstance(unpickle.load(deep), list)  # without recursion


def test_bytes_are_not_made_again_and_again_of_the_same_text():
    """64 KiB of text in the memo, encoded a hundred times."""
    text = b"\x80\x02(X\0\0\1\0" + b"x" * 65_536 + b"q\0X\6\0\0\0latin1q\1c_codecs\nencode\nq\2]"
    again = b"h\2h\0h\1\x86Ra"
    assert len(load(text + again + b"t.")[-1][0]) == 65_536
    assert "makes more bytes than it has" in damaged(text + again * 100 + b"t.")


def test_keys_that_cost_more_to_hash_than_to_write():
    """Tuples of tuples: two of the one before, sixty deep (2**60 steps), and one in another, deeper than the stack."""
    wide = b"}Nq\0" + b"".join(b"0h%c\x85h%c\x86q%c" % (i, i, i + 1) for i in range(60)) + b"Ns."
    for program in (wide, b"})" + b"\x85" * 200_000 + b"Ns.", b"\x8f(Ke\x90."):
        assert "set.pickle" in damaged(program)


def test_the_reader_itself_is_not_changed():
    """State set on what a name stands for would last for the next file."""
    for program in (
        b"c_codecs\nencode\n}S'x'\nNsb.",
        b"cnumpy\ndtype\nN}S'__class__'\nNs\x86b.",
        b"cnumpy\nndarray\n(dS'name'\nS'numpy.dtype'\nsb.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
    ):
        damaged(program)
    assert load(pickle.dumps(np.arange(3), 2)).tolist() == [0, 1, 2]


def test_a_file_larger_than_any_is_not_read(monkeypatch):
    data = pickle.dumps(b"x" * 1000)
    with pytest.raises(DataError, match="more than the 999 of a pickle"):
        unpickle.load(raw(data), most_bytes=999)


def test_a_thousand_laughs_cost_nothing():
    """Lists of ten times the list before, forty deep: 10**40 leaves, if anybody walked them."""
    levels = (b"0](" + b"h%c" % level * 10 + b"eq%c" % (level + 1) for level in range(40))
    found = unpickle.load(raw(b"\x80\x02]q\x00" + b"".join(levels) + b"."))
    assert isinstance(found, list)
    assert len(found) == 10


def test_lies_about_sizes_take_no_memory(tmp_path):
    """Strings of up to 2**63 bytes that are not there, and places of a memo that would be a table of 34 GB."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from datarobust.datasets import unpickle\n"
        "from datarobust.datasets.files import raw_file\n"
        "from datarobust.errors import DataError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]:\n"
        "    try: unpickle.load(raw_file(Path(name))); print('read')\n"
        "    except DataError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    paths = []
    for place, program in enumerate(
        [
            b"\x8e" + b"\xff" * 7 + b"\x7f",
            b"\x8b\xff\xff\xff\x7f",
            b"j\xff\xff\xff\x7f",
            b"Nr\xff\xff\xff\xff0",
            b"\x95" + b"\xff" * 8,
        ]
    ):
        paths.append(tmp_path / str(place))
        paths[-1].write_bytes(b"\x80\x04" + program + b"N")
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB; nothing was read
