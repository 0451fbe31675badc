"""Draw the paper's figures from artifacts, as png, svg or pdf by the ending of the output's name.

The same artifacts give the same bytes, so a picture can be a target of make and a figure can be compared with cmp.
The path of the finished picture is printed.

    figure sensitivity c10-l2.zarr c10-linf.zarr -o figure2a.pdf
    figure difference c100-l2.zarr c10-l2.zarr -o figure2b.pdf
    figure labels c10-l2.zarr c10-linf.zarr c10.zarr -o figure4.pdf
    figure training most least -o figure1b.pdf
    figure schedules -o figure4cd.pdf
    figure deciles baseline.zarr focus.zarr --ranking r.zarr -o deciles.pdf
    figure table run best.zarr last.zarr -o table.md
    figure clones c10.zarr most.zarr least.zarr -o figure3.png
    figure map c10-map-l2.zarr c10-map-linf.zarr -o figure6.png
    sens-rank c10.zarr --norm linf -o r.zarr | figure pairs c10.zarr - -o least.png
    figure report c10.zarr r.zarr run best.zarr figure1b.svg table.md -o report.html
"""

from __future__ import annotations

from . import (
    _cli,
    _figure_clones,
    _figure_curves,
    _figure_evaluation,
    _figure_labels,
    _figure_map,
    _figure_pairs,
    _figure_report,
    _figure_training,
)

app = _cli.tool(__doc__)

app.command()(_figure_curves.sensitivity)
app.command()(_figure_curves.difference)
app.command()(_figure_labels.labels)
app.command("map")(_figure_map.map_)
app.command()(_figure_pairs.pairs)
app.command()(_figure_clones.clones)
app.command()(_figure_clones.search)
app.command()(_figure_training.training)
app.command()(_figure_training.schedules)
app.command()(_figure_evaluation.deciles)
app.command()(_figure_evaluation.table)
app.command()(_figure_report.report)


def main() -> None:
    """The installed command."""
    _cli.run(app, "figure")


if __name__ == "__main__":
    main()
