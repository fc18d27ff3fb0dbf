"""The command about training material: ``dataset``."""

from typing import Annotated

from cyclopts import Parameter

from pipelines.terminal import OK, SOME_FAILED, guarded, print_document, say
from vgen.training.selection import DatasetSettings

DatasetFlags = Annotated[DatasetSettings | None, Parameter(name="*", group="Dataset")]


def dataset(
    source: str,
    destination: str,
    /,
    *,
    address: str | None = None,
    json: bool = False,
    settings: DatasetFlags = None,
) -> int:
    """Cut clean clips out of the videos and stills of SOURCE, as shards for training.

    Run the same command again after any interruption: finished sources are not read twice.

    Parameters
    ----------
    source:
        A file, folder, glob, s3://bucket/prefix, or a .txt/.csv/.parquet listing of URIs.
    destination:
        A folder or s3:// prefix, outside of SOURCE.
    address:
        local, auto, host:port or ray://...; default: RAY_ADDRESS if set, else local.
    json:
        Print dataset.json on stdout.
    """
    from pipelines.dataset import Request, build, describe, prepare

    request = Request(
        source=source,
        destination=destination,
        settings=settings or DatasetSettings(),
        address=address,
    )
    prepared = prepare(request)
    built = guarded(lambda: build(prepared, say=say))
    for fault in built.summary.faults:
        say(f"failed in {fault.error.stage}: {fault.error.message}")
    for line in describe(built):
        say(line)
    if json:
        print_document(built.summary.model_dump_json(indent=1))
    return SOME_FAILED if built.summary.failed else OK
