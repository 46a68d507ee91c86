"""CSV and TSV: what separates columns, quotes, types, Common Voice."""

import re
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import plan
from tests.helpers.shards import cells, contents, read, write_files

VOICE = (
    "client_id\tpath\tsentence\tup_votes\n"
    '00ff\tcv_1.mp3\t"Quoted at its start only\t2\n'
    '00\tcv_2.mp3\tSaid "so", he did\t0\n'
    "7\tcv_3.mp3\t1984\t1\n"
)


def test_common_voice(tmp_path: Path) -> None:
    write_files(tmp_path, {f"cv/clips/cv_{i}.mp3": b"%d" % i for i in (1, 2, 3)})
    tsv = tmp_path / "cv/validated.tsv"
    tsv.write_text(VOICE)
    says = re.escape(f"{tmp_path}/cv/cv_1.mp3: no such file, but there is {tmp_path}/cv/clips/cv_1.mp3")
    with pytest.raises(InputError, match=f"{says}.*set input.root={re.escape(str(tmp_path))}/cv/clips where"):
        plan([str(tsv)])
    planned = plan([str(tsv)], root=f"{tmp_path}/cv/clips")
    assert contents(planned) == {"cv_1.mp3": b"1", "cv_2.mp3": b"2", "cv_3.mp3": b"3"}
    assert [list(cells(item).values()) for item in read(planned)] == [
        ["00ff", '"Quoted at its start only', 2],
        ["00", 'Said "so", he did', 0],
        ["7", "1984", 1],
    ]
    assert discover_all([str(tsv)], root=f"{tmp_path}/cv/clips").notes == [
        f"{tsv}: columns between tabs, nothing quoted"
    ]


@pytest.mark.parametrize(
    ("delimiter", "named"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_a_csv_says_by_itself_what_separates_its_columns(tmp_path: Path, delimiter: str, named: str) -> None:
    write_files(tmp_path, {"a.wav": b"A"})
    text = 'path,text,speaker\na.wav,"one;two|three, four\tfive\n""six""",007\n'
    csv = tmp_path / "m.csv"
    quoted = '"one;two|three, four\tfive\n""six"""'
    csv.write_text(text.replace(quoted, "@").replace(",", delimiter).replace("@", quoted))
    (item,) = read(plan([str(csv)]))
    assert cells(item) == {"text": 'one;two|three, four\tfive\n"six"', "speaker": "007"}
    assert discover_all([str(csv)]).notes == [f'{csv}: columns between {named}, quoted by "']


def test_many_manifests_are_not_all_told_of(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{i}.tsv": b"path\n%d.wav\n" % i for i in range(12)})
    notes = discover_all([f"{tmp_path}/_OP_0..11_CL_.tsv"]).notes
    assert [len(notes), notes[-1]] == [11, "and 2 more of this kind"]


def test_one_column(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"A", "m.csv": b"path\na.wav\n", "m.tsv": b"wav\r\na.wav\r\n"})
    assert contents(plan([str(tmp_path / "m.csv")])) == contents(plan([str(tmp_path / "m.tsv")])) == {"a.wav": b"A"}


@pytest.mark.parametrize("header", ["path,text;more;columns", '"path","text; a|b|c|d"'])
def test_what_gives_a_column_of_paths_separates(tmp_path: Path, header: str) -> None:
    write_files(tmp_path, {"a.wav": b"A", "m.csv": f"{header}\na.wav,said\n".encode()})
    (item,) = read(plan([str(tmp_path / "m.csv")]))
    assert list(cells(item).values()) == ["said"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quoted_fields_and_ends_of_lines(tmp_path: Path, end: str) -> None:
    write_files(tmp_path, {"a.wav": b"A", "b.wav": b"B"})
    lines = ["path,text", 'a.wav,"said ""no"", twice', 'over two lines"', 'b.wav,in 5" steps', ""]
    (tmp_path / "m.csv").write_bytes(end.join(lines).encode())
    found = {item.id: cells(item)["text"] for item in read(plan([str(tmp_path / "m.csv")]))}
    assert found == {"a.wav": f'said "no", twice{end}over two lines', "b.wav": 'in 5" steps'}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.tsv", b"", "Empty CSV file"),
        ("m.tsv", b"path\tsentence\n", "without rows"),
        ("m.tsv", b"path\tsentence\na.wav\tone\ttwo\n", "Expected 2 columns, got 3"),
        ("m.tsv", b"clip\tsentence\na.wav\tone\n", "no column of paths.*input.column"),
        ("m.csv", b"path,start_s\na.wav,soon\n", "soon"),
        ("m.csv", b'path,text\na.wav,"Oh no\nb.wav,x\nc.wav,y\n', "line 2: a quote that is not closed"),
        ("m.csv", b'path|text\na.wav|fine\nb.wav|"Oh no|\nc.wav|said "he\n', "line 3: a quote that is not closed"),
        ("m.csv", b"path," + b"x" * 200_000 + b"\na.wav,y\n", "line 1: field larger than field limit"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    write_files(tmp_path, {name: content})
    with pytest.raises(InputError, match=said) as e:
        plan([str(tmp_path / name)])
    assert name in str(e.value)
