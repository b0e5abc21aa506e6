"""Files of codes from a user's own encoder: what is read, what is written, and one clear line for each mistake."""

import zipfile
from io import BytesIO

import numpy as np
import pytest

from syntone.errors import InputError
from syntone.evaluation.codes_file import GivenCodes, codes_file, read_codes

CODES = np.random.default_rng(0).normal(size=(5, 3))
HEADER = "z0,z1,z2\n"


def as_csv(codes: np.ndarray) -> str:
    return HEADER + "".join(",".join(map(repr, row)) + "\n" for row in codes.tolist())


def npz(**members) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **members)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def changed(row: int, column: int, value: float) -> np.ndarray:
    codes = CODES.copy()
    codes[row, column] = value
    return codes


def read(tmp_path, content: bytes | str, name: str = "mine.npz") -> GivenCodes:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_codes(path, n_rows=5)


@pytest.mark.parametrize("active", [None, np.array([True, False, True])])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_written_is_read(tmp_path, dtype, active):
    given = GivenCodes("my encoder é", 7, CODES.astype(dtype), active)
    content = codes_file(given)
    found = read(tmp_path, content)
    assert (found.name, found.seed, found.codes.dtype) == ("my encoder é", 7, dtype)
    np.testing.assert_array_equal(found.codes, given.codes)
    np.testing.assert_array_equal(found.active, active)
    assert codes_file(found) == content
    with zipfile.ZipFile(BytesIO(content)) as archive:  # no clock times: the same bytes on another day
        kinds = {(info.date_time[0], info.compress_type) for info in archive.infolist()}
    assert kinds == {(1980, zipfile.ZIP_DEFLATED)}


@pytest.mark.parametrize(
    "stored, dtype",
    [
        (CODES.astype(">f4"), np.float32),  # torch does not know the other order of bytes
        (np.asfortranarray(CODES), np.float64),
        ((10 * CODES).astype(np.int16), np.float64),
        (CODES > 0, np.float64),
        (CODES.astype(np.longdouble), np.float64),
    ],
)
def test_other_types_are_converted(tmp_path, stored, dtype):
    for content, name in ((npz(codes=stored), "mine.npz"), (npy(stored), "mine.npy")):
        codes = read(tmp_path, content, name).codes
        assert codes.dtype == dtype and codes.dtype.isnative and codes.flags.c_contiguous
        np.testing.assert_array_equal(codes, stored.astype(dtype))


@pytest.mark.parametrize("header", [HEADER, "0,1,2\n", '\ufeff"a, b",β,z 2\r\n\r\n'])
def test_csv(tmp_path, header):
    found = read(tmp_path, header + as_csv(CODES).removeprefix(HEADER) + "\n", "MINE.CSV")
    np.testing.assert_array_equal(found.codes, CODES)
    assert (found.name, found.seed, found.active, found.codes.dtype) == ("MINE", 0, None, np.float64)


@pytest.mark.parametrize(
    "file, members, expected",
    [
        ("mine.npz", {}, ("mine", 0)),
        ("my.net_seed12.npz", {}, ("my.net", 12)),
        ("a_seed1_seed2.npz", {}, ("a_seed1", 2)),
        ("_seed3.npz", {}, ("_seed3", 0)),
        ("mine_seed4.npz", {"name": "theirs"}, ("theirs", 4)),
        ("mine_seed4.npz", {"seed": 5}, ("mine", 5)),
        ("mine.npz", {"seed": np.uint8(6), "other": np.array([{}])}, ("mine", 6)),  # a member that is not read
    ],
)
def test_name_and_seed_are_those_of_the_members_then_of_the_file_name(tmp_path, file, members, expected):
    found = read(tmp_path, npz(codes=CODES, **members), file)
    assert (found.name, found.seed) == expected


def with_codes(codes) -> bytes:
    return npz(codes=codes)


@pytest.mark.parametrize(
    "content, pattern",
    [
        (npz(z=CODES, y=CODES), "no member 'codes', only z, y; write"),
        (npz(), "no member 'codes', only no member"),
        (with_codes(CODES[:4]), r"shape \(4, 3\), expected \(5, latents\); give one row per tone"),
        (with_codes(CODES.T), r"shape \(3, 5\), .*save the transpose, codes\.T"),
        (with_codes(CODES[:, 0]), r"shape \(5,\), .*codes\[:, None\]"),
        (with_codes(CODES[None]), r"shape \(1, 5, 3\)"),
        (with_codes(np.float64(1)), r"shape \(\)"),
        (with_codes(CODES[:, :0]), r"shape \(5, 0\)"),
        (with_codes(CODES[:0]), r"shape \(0, 3\)"),
        (with_codes(changed(3, 1, np.nan)), "1 codes are NaN or infinite, the first in row 3, column 1"),
        (with_codes(changed(0, 2, -np.inf)), "first in row 0, column 2"),
        (with_codes(CODES.astype(str)), "codes are <U32, expected real numbers"),
        (with_codes(CODES.astype(complex)), "codes are complex128"),
        (with_codes(np.zeros(5, "f4,f4")), "expected real numbers"),
        (with_codes(CODES.astype(object)), "cannot be read as codes .*Object arrays cannot be loaded"),
        (
            npz(codes=CODES, active=np.ones(4, bool)),
            r"'active' is \[True, True, True, True\] \(bool\), expected 3 booleans",
        ),
        (npz(codes=CODES, active=np.ones((3, 1), bool)), r"'active' is \[\[True\], \[True\], \[True\]\] "),
        (npz(codes=CODES, active=[0, 2, 1]), r"'active' is \[0, 2, 1\] \(int64\)"),
        (npz(codes=CODES, name=""), "the name is '' "),
        (npz(codes=CODES, name="  "), "the name is '  '"),
        (npz(codes=CODES, name="a\nb"), r"the name is 'a\\nb'"),
        (npz(codes=CODES, name="../a"), r"the name is '\.\./a'"),
        (npz(codes=CODES, name="a\\b"), "without / and"),
        (npz(codes=CODES, name=3), r"the name is 3 \(int64\)"),
        (npz(codes=CODES, name=["a"]), r"the name is \['a'\] "),
        (npz(codes=CODES, seed=-1), "'seed' is -1 .*expected one whole number"),
        (npz(codes=CODES, seed=1.0), "'seed' is 1.0"),
        (npz(codes=CODES, seed=[1]), r"'seed' is \[1\] "),
        (with_codes(CODES)[:-30], "cannot be read as codes .*zip"),
        (with_codes(CODES).replace(CODES.tobytes()[:8], bytes(8)), "cannot be read as codes .*CRC"),
        (b"", "cannot be read as codes"),
        (b"text", "cannot be read as codes"),
    ],
)
def test_mistakes_in_arrays_are_one_line(tmp_path, content, pattern):
    with pytest.raises(InputError, match=rf"mine\.npz: .*{pattern}") as fault:
        read(tmp_path, content)
    assert "\n" not in str(fault.value)


ROWS = as_csv(CODES).removeprefix(HEADER)


@pytest.mark.parametrize(
    "content, pattern",
    [
        ("", r"shape \(0, 0\), expected \(5,"),
        (HEADER, r"shape \(0, 3\)"),
        (ROWS, "first line has no names of columns"),
        ("1,0,2\n" + ROWS, "first line has no names of columns"),
        (",z1,z2\n" + ROWS, "first column has no name, as an index that pandas writes"),
        (HEADER + "1,2,3\n1,2\n" + ROWS, "line 3 has 2 cells, the header 3"),
        (HEADER + "1,2,3\n\n1,x\ty,3\n" + ROWS, "line 4, column 'z1' has 'x y', expected a number"),
        (HEADER + "1,,3\n", "line 2, column 'z1' has ''"),
        ("z0;z1\n1,5;2\n", "line 2 has 2 cells, the header 1"),
        (HEADER + ROWS + "1,2,3\n", r"shape \(6, 3\)"),
        (HEADER + "nan,2,3\n" * 5, "5 codes are NaN or infinite, the first in row 0, column 0"),
        (HEADER.encode() + b"\xff\xfe", "cannot be read as CSV"),
    ],
)
def test_mistakes_in_csv_are_one_line(tmp_path, content, pattern):
    with pytest.raises(InputError, match=rf"mine\.csv: .*{pattern}") as fault:
        read(tmp_path, content, "mine.csv")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "file, pattern", [("no.npz", "no such file"), (".", "expected codes in a file"), ("codes.pt", "npz, .npy, .csv")]
)
def test_other_files_are_refused(tmp_path, file, pattern):
    with pytest.raises(InputError, match=pattern):
        read_codes(tmp_path / file, n_rows=5)


def test_codes_of_a_model_without_active_latents_are_read_again(tmp_path):
    given = GivenCodes("VAE", 0, CODES, np.zeros(CODES.shape[1], bool))
    (tmp_path / "dead.npz").write_bytes(codes_file(given))
    assert not read_codes(tmp_path / "dead.npz", n_rows=len(CODES)).active.any()
