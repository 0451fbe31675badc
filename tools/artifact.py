"""Show artifacts of any kind, verify that they are intact, and join the parts of a ranking.

Two examples:

    artifact show c10.zarr best.safetensors | jq .digest

    sens-rank c10.zarr -o r.zarr | artifact check -
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from . import _cli
from ._cli import argument

app = _cli.tool(__doc__)

Paths = Annotated[list[Path], argument("PATH...", "Artifacts; - takes one path from stdin.")]


@app.command()
def show(paths: Paths, json_: _cli.Json = False, quiet: _cli.Quiet = False) -> None:
    """Print the metadata of artifacts, one JSON object per line.

    Fields: path, kind, version, digest, arrays (dtype and shape of each), attributes, and history: every command that
    led to the artifact, oldest first, with the digests of its inputs. The metadata, and the presence and size of each
    file, are verified. The data are not read; "artifact check" reads them.

    Example:
        artifact show r.zarr | jq -r '.history[] | [.tool] + .argv | @sh'
    """
    from datarobust import artifacts

    for summary in [artifacts.peek(_cli.argument_path(path)) for path in paths]:
        _cli.emit(json.dumps(artifacts.as_json(summary)))


@app.command()
def check(paths: Paths, json_: _cli.Json = False, quiet: _cli.Quiet = False) -> None:
    """Verify every byte of artifacts, and print one line per intact artifact.

    The line has its digest, kind and path, separated by tabs; with --json it is an object with these keys. At the first
    artifact that is incomplete or altered the command fails with exit code 1 and names the file and the reason.

    Example:
        artifact check *.zarr && echo all intact
    """
    from datarobust import artifacts

    for path in map(_cli.argument_path, paths):
        summary = artifacts.check(path)
        line = {"digest": summary.digest, "kind": summary.kind, "path": str(summary.path)}
        _cli.emit(json.dumps(line) if json_ else "\t".join(map(_cli.escape, line.values())))


@app.command()
def merge(
    parts: Annotated[list[Path], argument("PART...", "All parts, in any order.")],
    output: _cli.Output,
    json_: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Join the parts of a ranking made by sens-rank --shard, to the same bits as one process.

    The parts are kept. Missing parts, duplicate parts and parts of another ranking are refused.

    Example:
        artifact merge part-*.zarr -o r.zarr
    """
    from datarobust.artifacts import open_store
    from datarobust.jobs.make import make
    from datarobust.jobs.sens_rank import Joined, remarks

    job = Joined(tuple(_cli.opened(path, "ranking-part") for path in parts))
    new = make(job, output, _cli.step("artifact", None, None), overwrite=overwrite, progress=_cli.progress("merging"))
    if new:
        ranking = open_store(output, "ranking", same=True)
        same = ranking.attributes.get("neighbours") == "same"
        _cli.say(*remarks(ranking.column("distance").read(), same))
    _cli.emit(json.dumps({"ranking": str(output), "new": new}) if json_ else str(output))


main = _cli.main(app, "artifact")

if __name__ == "__main__":
    main()
