"""Command lines out of deployment files, read by the very programs they call, which do not run."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Sequence
from unittest.mock import patch

import click
from cyclopts import App, CycloptsError

from tests.s3 import rclone_program

_ASSIGNMENT = re.compile(r"[A-Z_]+=")


class RefusedError(ValueError):
    """The program would refuse the command line."""


def check_line(line: str) -> None:
    """Check each command of a shell line; those of the system itself are taken as they are.

    Raises:
        RefusedError: a program would not take its arguments.
    """
    for part in re.split(r"&&|\|\||;", line):
        words = shlex.split(part)
        while words and _ASSIGNMENT.match(words[0]):
            words = words[1:]
        if words[:1] not in (["ulimit"], ["pip"], ["export"]):
            check_command(words)


def check_command(words: Sequence[str]) -> None:
    """Let the program that ``words`` begin with parse the rest, without running it.

    Raises:
        RefusedError: it would not take them, or is no program of this project.
    """
    match list(words):
        case ["vgen", *rest]:
            _vgen(rest)
        case ["python" | "python3" | ".venv/bin/python", "-m", module, *rest]:
            _module(module, rest)
        case ["ray", *rest]:
            _ray(rest)
        case ["prefect", *rest]:
            _prefect(rest)
        case ["rclone", *rest]:
            _rclone(rest)
        case ["sh", "-c", line]:
            check_line(line)
        case _:
            raise RefusedError(f"no program of this project: {shlex.join(words)!r}")


def _vgen(words: list[str]) -> None:
    from pipelines.cli import app

    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise RefusedError(f"vgen {shlex.join(words)}: {error}") from error


def _module(module: str, words: list[str]) -> None:
    if importlib.util.find_spec(module) is None:
        raise RefusedError(f"there is no module {module}")
    match module.split("."):
        case ["pipelines", "cli"]:
            _vgen(words)
        case ["pipelines", command]:
            _vgen([command, *words])
        case ["flows", _]:
            _flow(module, words)
        case _:
            raise RefusedError(f"{module} is no program of this project")


def _flow(module: str, words: list[str]) -> None:
    """Let a flow's own program parse: whatever it hands to cyclopts is read and not called."""
    main = importlib.import_module(module).main

    def parsed(app: App, tokens: list[str], **_: object) -> int:
        app.parse_args(tokens, exit_on_error=False, print_error=False)
        return 0

    with patch.object(App, "__call__", parsed):
        if main(words) != 0:
            raise RefusedError(f"python -m {module} {shlex.join(words)}")


def _ray(words: list[str]) -> None:
    from ray.scripts.scripts import cli

    try:
        context = _click(cli, words, "ray")
    except click.ClickException as error:
        raise RefusedError(f"ray {shlex.join(words)}: {error.format_message()}") from error
    if context.command_path == "ray job submit":
        check_command(context.params["entrypoint"])
    if context.command_path == "ray exec":
        check_line(context.params["cmd"])


def _click(
    command: click.Command, words: list[str], name: str, parent: click.Context | None = None
) -> click.Context:
    context = command.make_context(name, list(words), parent=parent)
    if not isinstance(command, click.Group):
        return context
    chosen, below, rest = command.resolve_command(
        context, [*context._protected_args, *context.args]
    )
    assert below is not None
    return _click(below, rest, chosen or "", context)


def _prefect(words: list[str]) -> None:
    from prefect.cli._app import _app, _normalize_top_level_flags

    try:
        _, bound, _ = _app.meta.parse_args(
            _normalize_top_level_flags(words), exit_on_error=False, print_error=False
        )
        _app.parse_args(list(bound.args), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise RefusedError(f"prefect {shlex.join(words)}: {error}") from error


def _rclone(words: list[str]) -> None:
    # It reads all flags before it obeys --help.
    ran = subprocess.run(
        [rclone_program(), *words, "--help"], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RefusedError(f"rclone {shlex.join(words)}: {ran.stderr.splitlines()[0]}")
