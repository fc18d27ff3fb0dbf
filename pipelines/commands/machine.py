"""Commands about a file or this machine: ``probe``, ``doctor``, ``demo``."""

from pathlib import Path

from pipelines.terminal import OK, SOME_FAILED, console, guarded, print_document, say


def probe(file: str, /, *, json: bool = False) -> int:
    """Show what vgen sees in a file: streams, timeline, colour, and what it would do.

    Parameters
    ----------
    file:
        A path or URI.
    json:
        Print the facts as JSON on stdout.
    """
    from pipelines.inspection import inspect_file, show_inspection

    facts = inspect_file(file)
    if json:
        print_document(facts.model_dump_json(indent=2))
    else:
        show_inspection(facts, console)
    return OK


def doctor(*, storage: str | None = None) -> int:
    """Check this machine: one line each, with the remedy.

    Parameters
    ----------
    storage:
        A folder or s3:// prefix that should be reachable and writable.
    """
    from pipelines.doctor import examine

    findings = examine(storage)
    for finding in findings:
        mark = "[green]ok  [/]" if finding.is_fine else "[red]FAIL[/]"
        console.print(f"{mark} {finding.name}: ", end="")
        console.print(finding.message, markup=False)
    return OK if all(finding.is_fine for finding in findings) else SOME_FAILED


def demo(*, output: Path = Path("demo-out")) -> int:
    """Enhance real sample clips, with no services, and measure what it did.

    Parameters
    ----------
    output:
        Folder for the enhanced clips and the report.
    """
    from pipelines.demo import run_demo

    return guarded(lambda: run_demo(output, say=say))
