"""``vgen evaluate`` and ``vgen promote``: scores of releases, and what follows from them."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.release_files import ReleaseRef, release_path, resolve_release
from pipelines.scratch import scratch
from vgen import storage
from vgen.enhance.devices import find_device
from vgen.enhance.enhancer import Enhancer
from vgen.errors import ConfigError, ReleaseError
from vgen.models import registry
from vgen.models.ladder import LadderVae
from vgen.models.release import (
    IDENTITY,
    bundled_releases,
    check_restores,
    load_network,
    read_header,
    release_digest,
)
from vgen.training.evaluate import evaluate_generator, evaluate_release
from vgen.training.promote import Decision, PromotionRules, decide
from vgen.training.scores import Evaluation, EvaluationSettings


def run_evaluation(
    release: str,
    clips_uri: str,
    settings: EvaluationSettings,
    *,
    registry_uri: str | None,
    say: Callable[[str], None],
) -> Evaluation:
    """Score the release that ``release`` names on what lies at ``clips_uri``.

    Raises:
        ReleaseError: there is no such release, or it restores nothing.
        ConfigError: nothing there can be scored, or a setting is refused.
        StorageError: clips or release cannot be read.
    """
    return _scored(resolve_release(release, registry=registry_uri), clips_uri, settings, say)


def run_promotion(
    candidate: str,
    clips_uri: str,
    *,
    name: str | None,
    registry_uri: str,
    settings: EvaluationSettings,
    rules: PromotionRules,
    is_dry_run: bool,
    say: Callable[[str], None],
) -> Decision:
    """Score a candidate beside what its name stands for, and put it in force if it is better.

    The reasons are kept in the registry either way, unless it is a dry run.

    Args:
        candidate: The release: a path, a URI or a name.
        clips_uri: What both are scored on.
        name: What it would be called; None for the name in its header.
        registry_uri: Where releases are registered.
        settings: How to score. Classical filters are left out, as nothing depends on them.
        rules: What the candidate must reach.
        is_dry_run: Decide, and write nothing.
        say: Told what is being done.

    Raises:
        ReleaseError: candidate and incumbent cannot be compared, or another promotion came in
            between.
        ConfigError: nothing can be scored.
        StorageError: clips, releases or registry cannot be read or written.
    """
    offered = resolve_release(candidate, registry=registry_uri)
    if offered.name == IDENTITY.name:
        raise ReleaseError("identity has no file that could be promoted")
    with scratch("candidate") as folder:
        path = release_path(offered, folder)
        assert path is not None
        header = read_header(path)
        check_restores(header.name, header.spec)
        name = registry.checked_name(name or header.name)
        replacing = registry.current(registry_uri, name)
        in_force = _in_force(name, replacing, registry_uri)
        if in_force is not None and in_force.digest == offered.digest:
            raise ReleaseError(f"the candidate is what {name!r} stands for already")
        chosen = settings.model_copy(update={"baseline": False})
        say(f"scoring the candidate {offered.digest[: registry.VERSION_LENGTH]}")
        scores = _scored(offered, clips_uri, chosen, say)
        incumbent = None
        if in_force is not None:
            say(f"scoring the release in force {in_force.digest[: registry.VERSION_LENGTH]}")
            incumbent = _scored(in_force, clips_uri, chosen, say)
        decision = decide(name, scores, incumbent, rules)
        if not is_dry_run:
            _carry_out(decision, path, replacing, registry_uri)
    return decision


def _in_force(name: str, pointer: registry.Pointer | None, registry_uri: str) -> ReleaseRef | None:
    """Return what ``name`` stands for at present, if anything."""
    if pointer is None and name not in bundled_releases():
        return None
    return resolve_release(name, registry=registry_uri)


def _carry_out(
    decision: Decision, path: Path, replacing: registry.Pointer | None, registry_uri: str
) -> None:
    version = decision.candidate.release_digest[: registry.VERSION_LENGTH]
    content = decision.model_dump_json(indent=1)
    if decision.is_promoted:
        registry.publish(registry_uri, decision.name, path)
    told = registry.write_decision(registry_uri, decision.name, version, content)
    if decision.is_promoted:
        registry.promote(
            registry_uri,
            decision.name,
            sha256=decision.candidate.release_digest,
            replacing=replacing,
            decision=told,
        )


def _scored(
    release: ReleaseRef,
    clips_uri: str,
    settings: EvaluationSettings,
    say: Callable[[str], None],
) -> Evaluation:
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with scratch("release") as folder:
            path = release_path(release, folder)
            if path is not None and not read_header(path).spec.restores:
                return _generator_scored(path, clips_uri, settings)
            enhancer = Enhancer.load(path or IDENTITY.name, device=settings.device)
            return evaluate_release(enhancer, clips_uri, settings, say=say)
    finally:
        torch.set_num_threads(before)


def _generator_scored(path: Path, clips_uri: str, settings: EvaluationSettings) -> Evaluation:
    header, network = load_network(path)
    assert isinstance(network, LadderVae)
    if settings.damages:
        raise ConfigError(f"{header.name} is scored on clean clips, so leave --damages out")
    placed = network.to(find_device(settings.device))
    return evaluate_generator(header, release_digest(path), placed, clips_uri, settings)


def write_document(document: str, target: str) -> None:
    """Write a result to a local file or an object.

    Raises:
        ConfigError: ``target`` is no path or URI.
        StorageError: it cannot be written.
    """
    storage.write_bytes(storage.normalize_uri(target), f"{document}\n".encode())
