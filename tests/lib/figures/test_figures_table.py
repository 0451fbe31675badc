"""Tables as Markdown: the paper's row beside ours, upper bounds called so, nothing invented."""

from __future__ import annotations

from pathlib import Path

import pytest

from datarobust.errors import DataError
from datarobust.evaluation import power
from datarobust.figures.table import PAPER_COLUMNS, Accuracy, Row, markdown, read_paper, table

HEADER = "\t".join(PAPER_COLUMNS)
PAPER = f"""# a comment
{HEADER}
v_v\tWang et al.\tC10∞,-v(v)\t92.45\t67.53\t92.40\t67.57\t24.92\t24.83\t2384\t72.66
none\t\tC10∞,-v(·)\tx\tx\t92.47\t67.52\tx\t24.95\tx\tx
star\t*\tC10(2s)\t72.78\t38.54\t72.78\t38.58\t34.42\t34.20\t1568\t32.52
"""
BEST, LAST = Accuracy(0.9, 0.5), Accuracy(0.91, 0.48)


def cells(rows: list[Row], paper: str = PAPER) -> tuple[list[list[str]], str]:
    """The cells of every row of the table, and what stands at its foot."""
    lines = list(markdown(rows, read_paper(paper, "paper.tsv") if paper else ()))
    body = [line for line in lines if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in body]
    assert {line.count("|") - line.count("\\|") for line in body} == {12}
    return split[2:], "".join(lines[len(body) :])


def test_the_papers_rows_stand_as_they_are_printed() -> None:
    rows, foot = cells([])
    assert rows[0] == ["Wang et al.", "C10∞,-v(v)", "paper", "92.45 - 67.53", "92.40 - 67.57", "24.92", "24.83",
                       "2384", "72.66", "", ""]  # fmt: skip
    assert rows[1][3:9] == ["x", "92.47 - 67.52", "x", "24.95", "x", "x"]
    assert rows[2][0] == r"\*"
    assert rows[2][5] == "34.42 [1]"
    assert "[1] As the paper prints it; 72.78 - 38.54 is 34.24." in foot
    assert "≤" not in foot


def test_ours_stand_beneath_them_and_the_rest_at_the_end() -> None:
    ours = Row("v_v", BEST, LAST, 7, 0.725, "seed 3", ("A remark.",))
    rows, foot = cells([Row("other", None, LAST), ours])
    assert [row[2] for row in rows] == ["paper", "ours [1]", "paper", "paper", "ours"]
    assert rows[1][3:9] == ["90.00 - 50.00", "91.00 - 48.00", "40.00", "43.00", "7", "72.50"]
    assert rows[-1] == ["", "other", "ours", "x", "91.00 - 48.00", "x", "43.00", "x", "x", "x", "x"]
    assert "- [1] A remark.\n" in foot


def test_an_upper_bound_is_called_so_wherever_it_stands() -> None:
    bound = Accuracy(0.9, 0.5, upper_bound=True)
    rows, foot = cells([Row("a", bound, LAST), Row("a", bound, LAST)], "")
    assert rows[0][3:7] == ["90.00 - ≤ 50.00", "91.00 - 48.00", "≥ 40.00", "43.00"]
    assert rows[2][3:7] == ["90.00 ± 0.00 - ≤ 50.00 ± 0.00", "91.00 ± 0.00 - 48.00 ± 0.00", "≥ 40.00 ± 0.00",
                            "43.00 ± 0.00"]  # fmt: skip
    assert "fewer attacks than AutoAttack's" in foot
    header, first, _ = (line.rstrip("\n").split("\t") for line in table([Row("a", bound, LAST)] * 2))
    assert dict(zip(header, first, strict=True)) == {
        "name": "a", "label": "", "clean_b": "0.9", "aa_b": "0.5", "upper_bound_b": "true", "clean_l": "0.91",
        "aa_l": "0.48", "upper_bound_l": "false", "epoch_b": "", "pgd_b": "", "detectable_b": "", "detectable_l": "",
        "detectable_by_seeds_b": "", "detectable_by_seeds_l": "",
    }  # fmt: skip


def test_several_seeds_are_followed_by_their_mean_and_deviation() -> None:
    seeds = [Row("v_v", Accuracy(0.9, 0.5 + shift), None, 7, 0.7 + shift, f"seed {n}") for n, shift in
             enumerate((0.0, 0.02, 0.04))]  # fmt: skip
    rows, _ = cells(seeds)
    assert [row[2] for row in rows[1:5]] == [
        "ours, seed 0", "ours, seed 1", "ours, seed 2", "ours, mean of 3 ± deviation",
    ]  # fmt: skip
    assert rows[4][3:9] == ["90.00 ± 0.00 - 52.00 ± 2.00", "x", "38.00 ± 2.00", "x", "", "72.00 ± 2.00"]


def test_what_each_row_could_show() -> None:
    """By points where it is one row, by seeds where there are several; a table of shares has both."""
    seeds = [Row("a", Accuracy(0.9, 0.5 + shift), LAST, label=f"seed {n}", points=500) for n, shift in
             enumerate((0.0, 0.02, 0.04))]  # fmt: skip
    by_points = power.detectable_by_points(500, 0.5)
    by_seeds = power.detectable_by_seeds([0.02, 0.02], [3, 3])
    assert by_points is not None
    assert by_seeds is not None
    rows, foot = cells(seeds, "")
    assert rows[0][9] == f"{100 * by_points:.2f}"
    assert rows[3][9:] == [f"{100 * by_seeds:.2f}", "x"], "the last weights have no deviation"
    assert "power" not in foot
    assert "Detectable: the smallest true difference" in foot
    header, *lines = (line.rstrip("\n").split("\t") for line in table([*seeds, Row("b", BEST, None, points=500)]))
    first, *_, other = (dict(zip(header, line, strict=True)) for line in lines)
    assert float(first["detectable_b"]) == by_points
    assert float(first["detectable_by_seeds_b"]) == pytest.approx(by_seeds)
    assert (other["detectable_b"], other["detectable_l"], other["detectable_by_seeds_b"]) == (repr(by_points), "", "")


def test_names_cannot_break_the_table() -> None:
    rows, _ = cells([Row("a|b\n*c*", BEST, None)], "")
    assert rows[0][1] == r"a\|b \*c\*"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "paper.tsv holds no rows of the paper"),
        ("name\tsetup\n", "its first line is name description"),
        (f"{HEADER}\na\tb\n", "line 2 has 2 fields, not 11"),
        (f"{HEADER}\n" + "\t".join("abc" + "1" * 7 + "y"), "line 2: could not convert"),
        (f"{HEADER}\n" + "\t".join([*"abc", *"1" * 7, "nan"]), "line 2 has a number that is not finite"),
    ],
)
def test_what_holds_no_rows_of_the_paper(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as told:
        read_paper(text, "paper.tsv")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("number", "rows", "misprinted"), [(2, 12, 0), (3, 6, 1), (4, 9, 0)])
def test_the_papers_tables_are_there(root: Path, number: int, rows: int, misprinted: int) -> None:
    path = root / "examples" / f"table{number}.tsv"
    found = read_paper(path.read_text(encoding="utf-8"), str(path))
    assert len({row["name"] for row in found}) == rows
    text = "".join(markdown([], found))
    assert text.count("As the paper prints it") == misprinted
