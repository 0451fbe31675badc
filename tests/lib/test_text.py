"""Foreign text in sentences, and lines of tables."""

from __future__ import annotations

import pytest

from datarobust.text import read_json, shown, sized, tsv


def test_nothing_in_a_name_acts_on_a_terminal() -> None:
    assert shown("cat\x1b[31m\n\udce9") == r"cat\x1b[31m\n\udce9"
    assert shown("Katze, 猫") == "Katze, 猫"


def test_shapes() -> None:
    assert sized((3, 32, 32)) == "3 x 32 x 32"


def test_tables_give_numbers_back_exactly_and_have_a_line_a_row() -> None:
    rows = [("a\tset\nof mine", 3, 0.1, True, None), ("", -1, float("inf"), False, "0.10")]
    header, *lines = (line.removesuffix("\n").split("\t") for line in tsv("name index value flag more", rows))
    assert header == ["name", "index", "value", "flag", "more"]
    assert lines == [["a set of mine", "3", "0.1", "true", ""], ["", "-1", "inf", "false", "0.10"]]
    assert float(lines[0][2]) == 0.1


@pytest.mark.parametrize("depth", [65, 500, 5_000, 200_000])
def test_json_that_is_nested_beyond_reason_is_refused(depth: int) -> None:
    assert read_json("[" * 64 + "]" * 64)
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth):
        with pytest.raises(ValueError, match=r"nested too deeply|Expecting value"):
            read_json(text)
