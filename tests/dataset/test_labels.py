"""Tables of labels: layouts, numbers, words and missing values."""

import time

import pytest

from syntone.dataset.labels import read_labels
from syntone.errors import InputError


def table(folder, *rows: str, encoding: str = "utf-8", end: str = "\n", **kinds):
    path = folder / "labels.csv"
    path.write_bytes((end.join(rows) + end).encode(encoding))
    return read_labels(path, folder, **kinds)


def column(folder, *cells: str, **kinds):
    """The table of one factor, `pitch`."""
    return table(folder, "file,pitch", *(f"{k}.wav,{cell}" for k, cell in enumerate(cells)), **kinds)


def test_numbers_are_ordered_and_words_nominal(tmp_path):
    found = table(
        tmp_path,
        "file, pitch,who ,take",
        "a.wav,440.5,mary,a1",
        '"b, second.wav",20,"o\'hara",a1',
        "",
        "c.wav,100,mary,b",
    )
    assert found.files == ["a.wav", "b, second.wav", "c.wav"] and found.names == ["pitch", "who", "take"]
    assert found.kinds == ["ordered", "nominal", "nominal"] and found.warnings == []
    assert found.factors.tolist() == [[2, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert found.values.tolist() == [[440.5, 0, 0], [20, 1, 0], [100, 0, 1]]
    assert found.level_names == {"who": ["mary", "o'hara"], "take": ["a1", "b"]}


@pytest.mark.parametrize(
    "rows, pattern",
    [
        ([""], "has 0 rows"),
        (["file,who"], "has 1 rows, expected a header and a row for each"),
        (["file,who", "a.wav,mary"], "has 2 rows"),
        (["file", "a.wav", "b.wav"], "the header has one cell, 'file'; separate columns by commas"),
        (["file;who", "a.wav;mary", "b.wav;john"], "one cell, 'file;who'; separate columns by commas"),
        (["file\twho", "a.wav\tmary", "b.wav\tjohn"], "separate columns by commas"),
        (["sep=;", "file;who", "a.wav;mary", "b.wav;john"], "one cell, 'sep=;'; separate columns by commas"),
        (
            ["a.wav,mary", "b.wav,john", "c.wav,john"],
            "header contains the file name 'a.wav'; add a first row of column names",
        ),
        (["A.WAV,mary", "b.wav,john", "c.wav,john"], "header contains the file name 'A.WAV'"),
        (["mary,a.wav", "john,b.wav", "john,c.wav"], "header contains the file name 'a.wav'"),
        (["here,mary", "there,john", "where,john"], "header contains the file name 'here'"),
        (
            ["who,file", "mary,a.wav", "john,b.wav"],
            "row 2 has the file name in column 2, 'file'; make it the first column",
        ),
        (
            [",file,who", "0,a.wav,mary", "1,b.wav,john"],
            "column 2, 'file'; make it the first column, and remove row numbers",
        ),
        (
            ["file,who", "a.wav,mary", "b.wav"],
            r"row 3 has 1 cells and the header 2: \['file', 'who'\]; separate cells",
        ),
        ([",file,who", "a.wav,mary", "b.wav,john"], r"row 2 has 2 cells and the header 3: \['', 'file', 'who'\]"),
        (["file,pitch", "a.wav,0,5", "b.wav,1"], "row 2 has 3 cells and .* use a decimal point"),
        (["file,who", "", "a.wav,mary", "b.wav,"], r"column 'who', row 4: missing value \(''\)"),
        (["file,who", "a.wav,mary", ",john"], "row 3 has no file name"),
        (["file,who", "a.wav,mary", "a.wav,john"], "row 3 names the same file as row 2, 'a.wav'; list each file once"),
        (["file,who", "a.wav,mary", "./a.wav,john"], "row 3 names the same file as row 2, './a.wav'"),
        (["file,who", "a.wav,mary", "b.wav,bob", "x/../a.wav,john"], "row 4 names the same file as row 2"),
        (["file,who,who", "a.wav,mary,1", "b.wav,john,2"], "two factors are called 'who'"),
        (["file,who,who\u200b ", "a.wav,mary,1", "b.wav,john,2"], "two factors are called 'who'"),
        (["file,,who", "a.wav,mary,1", "b.wav,john,2"], "factor name '' is empty"),
        (["file,all,who", "a.wav,mary,1", "b.wav,john,2"], "factor name 'all' is reserved for the overall score"),
        (["file,who", 'a.wav,"mary', "b.wav,john", "c.wav,bob"], "line break in 'mary.nb.wav,john.n"),
        (["file,who", 'a.wav,"ma', 'ry"', "b.wav,john"], "row 3 has a line break"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, rows, pattern):
    (tmp_path / "here").touch()
    with pytest.raises(InputError, match=f"labels.csv: .*{pattern}"):
        table(tmp_path, *rows)


def test_other_encodings_are_refused(tmp_path):
    for encoding in ("utf-16", "latin-1"):
        with pytest.raises(InputError, match="not a CSV file in UTF-8"):
            table(tmp_path, "file,who", "a.wav,jos\u00e9", "b.wav,mary", encoding=encoding)


@pytest.mark.parametrize(
    "header",
    [
        "file,pitch,who",
        "\ufefffile,pitch,who",
        '\ufeff"file","pitch","who"',
        '"\ufefffile", "pitch",\t"who"',
        ",pitch,who",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\r\n"])
def test_what_cannot_be_seen_changes_nothing(tmp_path, header, end):
    """BOMs, line endings, spaces before and after quotes, invisible characters, composed accents, and blank rows."""
    rows = [
        'a.wav, "1" ,\u200bjos\u00e9',
        ",,",
        '"b.wav" ,\u00a02\u200b,jose\u0301 ',
        "c.wav,\ufeff1,the\u00a0 other\u00ad",
    ]
    found = table(tmp_path, header.replace('\t"who"', ' "who"'), *rows, end=end)
    assert found.files == ["a.wav", "b.wav", "c.wav"] and found.names == ["pitch", "who"]
    assert found.kinds == ["ordered", "nominal"] and found.values[:, 0].tolist() == [1, 2, 1]
    assert found.level_names == {"who": ["jos\u00e9", "the other"]} and found.warnings == []


def test_numbers_are_read_in_every_way_of_writing_them(tmp_path):
    found = column(tmp_path, "1e3", "-2", "\u22122", "+.5", "1000.0", "007")
    assert found.kinds == ["ordered"] and found.values[:, 0].tolist() == [1000, -2, -2, 0.5, 1000, 7]
    assert found.factors[:, 0].tolist() == [3, 0, 0, 1, 3, 2]


@pytest.mark.parametrize(
    "cell", ["880Hz", "0x10", "50%", '"0,5"', '"1,000"', "1_2", "inf", "-inf", "1e999", "high", "1 2"]
)
def test_one_cell_that_is_not_a_number_is_refused_unless_the_factor_is_nominal(tmp_path, cell):
    cells = ["1", "2", cell, "3"]
    for kinds in ({}, {"ordered": ["pitch"]}):
        with pytest.raises(InputError, match=f"column 'pitch', row 4: '{cell.strip(chr(34))}' is not a finite number"):
            column(tmp_path, *cells, **kinds)
    found = column(tmp_path, *cells, nominal=["pitch"])
    assert found.kinds == ["nominal"] and set(found.level_names["pitch"]) == {"1", "2", "3", cell.strip('"')}


@pytest.mark.parametrize(
    "cell", ["NA", "n/a", "nan", "NaN", "-nan", "NULL", "None", "-", "?", ".", "#N/A", "#VALUE!", '" "']
)
@pytest.mark.parametrize("others", [["1", "2"], ["low", "high"]])
@pytest.mark.parametrize("kinds", [{}, {"nominal": ["pitch"]}, {"ordered": ["pitch"]}])
def test_missing_values_are_refused(tmp_path, cell, others, kinds):
    with pytest.raises(InputError, match="column 'pitch', row 4: missing value"):
        column(tmp_path, *others, cell, **kinds)


def test_none_is_a_word(tmp_path):
    assert column(tmp_path, "none", "reverb", "none").level_names == {"pitch": ["none", "reverb"]}


def test_columns_that_look_like_numbers_or_twice_the_same_are_warned_about(tmp_path):
    for cells in (["220Hz", "440Hz"], ['"0,5"', '"1,5"'], ["50%", "7%"], ["$5", "$7"], ["~5", "-6x"]):
        found = column(tmp_path, *cells)
        assert found.kinds == ["nominal"]
        assert len(found.warnings) == 1 and "pitch is nominal because " in found.warnings[0]
        assert column(tmp_path, *cells, nominal=["pitch"]).warnings == []
    assert column(tmp_path, "p225", "a1", "4x").warnings == []
    assert column(tmp_path, "Sine", "sine", "x").warnings == [
        "factor pitch: levels 'Sine' and 'sine' differ only in case"
    ]


def test_kinds_that_are_given(tmp_path):
    found = column(tmp_path, "10", "9", "10.0", nominal=["pitch"])  # class numbers
    assert found.kinds == ["nominal"] and found.level_names == {"pitch": ["9", "10"]}
    assert found.factors[:, 0].tolist() == found.values[:, 0].tolist() == [1, 0, 1]
    found = column(tmp_path, "pp", "mf", "ff", "mf", ordered=["pitch"])
    assert found.kinds == ["ordered"] and found.level_names == {"pitch": ["pp", "mf", "ff"]}
    assert found.factors[:, 0].tolist() == found.values[:, 0].tolist() == [0, 1, 2, 1]
    assert found.warnings == ["levels of pitch are ordered by first appearance: pp, mf, ff"]
    assert column(tmp_path, "2", "1", ordered=["pitch"]).values[:, 0].tolist() == [2, 1]
    with pytest.raises(InputError, match="unknown factor 'who'; choose from pitch"):
        column(tmp_path, "1", "2", nominal=["who"])
    with pytest.raises(InputError, match="'pitch' is given as both ordered and nominal"):
        column(tmp_path, "1", "2", nominal=["pitch"], ordered=["pitch"])


def test_long_tables_take_no_longer_than_their_rows(tmp_path):
    """Of 50,000 rows a quadratic step would take a minute, reading them a second."""
    rows = [f"{k}.wav,{k},n{k}" for k in range(50_000)]
    begin = time.perf_counter()
    assert len(table(tmp_path, "file,pitch,who", *rows).files) == 50_000
    with pytest.raises(InputError, match="row 50002 names the same file as row 50001"):
        table(tmp_path, "file,pitch,who", *rows, rows[-1])
    assert time.perf_counter() - begin < 20
