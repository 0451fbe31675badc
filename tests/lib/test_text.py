"""Foreign text in sentences."""

from __future__ import annotations

from datarobust.text import shown, sized


def test_nothing_in_a_name_acts_on_a_terminal() -> None:
    assert shown("cat\x1b[31m\n\udce9") == r"cat\x1b[31m\n\udce9"
    assert shown("Katze, 猫") == "Katze, 猫"


def test_shapes() -> None:
    assert sized((3, 32, 32)) == "3 x 32 x 32"
