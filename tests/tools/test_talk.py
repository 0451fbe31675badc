"""How sentences of the library look on the command line."""

from __future__ import annotations

from datarobust.tools._talk import as_options


def test_arguments_become_options() -> None:
    assert as_options("`hold_out` takes all; give `lam` or `eps` 8/255") == (
        "--hold-out takes all; give --lambda or --eps 8/255"
    )
    assert as_options("a ` alone, and `Some Words`") == "a ` alone, and `Some Words`"
