"""Commands about releases: ``evaluate``, ``promote``, ``releases``, ``generate``."""

from typing import Annotated

from cyclopts import Parameter

from pipelines.terminal import OK, SOME_FAILED, console, guarded, print_document, say
from vgen import storage
from vgen.errors import ConfigError
from vgen.models.registry import REGISTRY_VARIABLE
from vgen.models.registry import registry_uri as named_registry
from vgen.training.promote import PromotionRules
from vgen.training.scores import EvaluationSettings, as_table

EvaluationFlags = Annotated[EvaluationSettings | None, Parameter(name="*", group="Scores")]
RuleFlags = Annotated[PromotionRules | None, Parameter(name="*", group="Rules")]


def evaluate(
    release: str,
    clips: str,
    /,
    *,
    registry: str | None = None,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    json: bool = False,
    settings: EvaluationFlags = None,
) -> int:
    """Score RELEASE on CLIPS: clean material, damaged in fixed ways, restored and compared.

    Parameters
    ----------
    release:
        A name, path or URI.
    clips:
        A dataset of vgen, whose held-out part is taken, or a folder or s3:// prefix of stills
        and videos.
    registry:
        Folder or s3:// prefix where names are looked up first; default: VGEN_REGISTRY.
    output:
        File or object that the scores are written to, as JSON.
    json:
        Print the scores as JSON on stdout; the table goes to stderr in any case.
    """
    from pipelines.evaluate import run_evaluation, write_document

    place, chosen = named_registry(registry), settings or EvaluationSettings()
    if output is not None:
        storage.check_reachable(storage.parent_of(storage.normalize_uri(output)), writable=True)
    found = guarded(lambda: run_evaluation(release, clips, chosen, registry_uri=place, say=say))
    document = found.model_dump_json(indent=2)
    console.print(as_table(found), markup=False)
    if output is not None:
        write_document(document, output)
    if json:
        print_document(document)
    return OK


def promote(
    candidate: str,
    /,
    *,
    clips: str,
    registry: str | None = None,
    name: str | None = None,
    dry_run: bool = False,
    json: bool = False,
    rules: RuleFlags = None,
    settings: EvaluationFlags = None,
) -> int:
    """Compare CANDIDATE with the release in force, and put it in force if it is better.

    The first release of a name is held against the damaged input. Exit status: 0 promoted, 1
    refused by its scores.

    Parameters
    ----------
    candidate:
        A path or URI, or a name.
    clips:
        What both are scored on, as for evaluate.
    registry:
        Folder or s3:// prefix of the registry; default: VGEN_REGISTRY.
    name:
        The name to promote under; default: the one in the candidate's header.
    dry_run:
        Decide, and write nothing.
    json:
        Print the decision as JSON on stdout.
    """
    from pipelines.evaluate import run_promotion

    place = _required(registry)
    decision = guarded(
        lambda: run_promotion(
            candidate,
            clips,
            name=name,
            registry_uri=place,
            settings=settings or EvaluationSettings(),
            rules=rules or PromotionRules(),
            is_dry_run=dry_run,
            say=say,
        )
    )
    for gain in decision.gains:
        say(f"{gain.name}: {gain.before_db:.2f} to {gain.after_db:.2f} dB ({gain.gain_db:+.2f})")
    verdict = "promoted" if decision.is_promoted else "refused"
    if dry_run:
        verdict = f"would be {verdict}"
    say(f"{decision.name} {verdict}: {'; '.join(decision.reasons)}")
    if json:
        print_document(decision.model_dump_json(indent=2))
    return OK if decision.is_promoted else SOME_FAILED


def releases(
    name: str | None = None,
    /,
    *,
    registry: str | None = None,
    rollback: bool = False,
    mix: tuple[str, str] | None = None,
    at: float | None = None,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    json: bool = False,
) -> int:
    """List releases with their scores; or put an earlier one in force again, or mix two.

    Parameters
    ----------
    name:
        List this name only.
    registry:
        Folder or s3:// prefix of the registry; default: VGEN_REGISTRY.
    rollback:
        Put the version of NAME in force that was current before.
    mix:
        Two releases of equal settings to make one between them of: at 0 the first, at 1 the
        second.
    at:
        Share of the second, 0 to 1.
    output:
        File of the mix; its name becomes the release's.
    json:
        Print the list as JSON on stdout.
    """
    from pipelines.shelf import list_releases, show_releases
    from vgen.models.registry import roll_back

    if mix is not None:
        return _mix(mix, at, output, registry)
    if at is not None or output is not None:
        raise ConfigError("--at and --output belong to --mix")
    if rollback:
        if name is None:
            raise ConfigError("--rollback needs the name to roll back")
        pointer = roll_back(_required(registry), name)
        say(f"{name} is {pointer.version} again, as under number {pointer.restores}")
    entries = list_releases(name, named_registry(registry))
    if json:
        print_document(f"[{','.join(entry.model_dump_json() for entry in entries)}]")
    else:
        show_releases(entries, console)
    return OK


def generate(
    release: str,
    output: str,
    /,
    *,
    count: int = 8,
    frames: int = 16,
    size: str = "128x128",
    rate: int = 25,
    crf: int = 12,
    seed: int = 0,
    registry: str | None = None,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Sample clips that RELEASE, an unconditional autoencoder, makes up.

    The same seed gives the same clips.

    Parameters
    ----------
    release:
        A name, path or URI.
    output:
        Folder or s3:// prefix for the videos and a page of their frames (PNG).
    count:
        Clips.
    frames:
        Length of each.
    size:
        WIDTHxHEIGHT in pixels, even.
    rate:
        Frames a second.
    crf:
        Quality of the H.264 encoding, 0 to 51, lower is better.
    seed:
        Decides the clips.
    registry:
        As for evaluate.
    device:
        cpu, cuda, cuda:N, or auto.
    json:
        Print what was written as JSON on stdout.
    """
    from pipelines.generate import Order, parse_size, run_generation

    width, height = parse_size(size)
    order = Order(
        clips=count, frames=frames, width=width, height=height, rate=rate, crf=crf, seed=seed
    )
    place = named_registry(registry)
    made = guarded(
        lambda: run_generation(release, output, order, registry_uri=place, device=device, say=say)
    )
    say(f"look at: {made.page}")
    if json:
        print_document(made.model_dump_json(indent=2))
    return OK


def _mix(pair: tuple[str, str], at: float | None, output: str | None, registry: str | None) -> int:
    from pipelines.shelf import mix

    if at is None or output is None:
        raise ConfigError("--mix needs --at, the share of the second, and --output FILE")
    header = mix(*pair, share=at, output=output, registry_uri=named_registry(registry))
    say(f"{header.name} is {output}")
    return OK


def _required(registry: str | None) -> str:
    found = named_registry(registry)
    if found is None:
        raise ConfigError(f"name a registry by --registry or {REGISTRY_VARIABLE}")
    return found
