"""What a run gathers on the driver: counts and outcomes, bounded in memory by the videos alone."""

import json
from dataclasses import dataclass, field
from typing import TextIO

from pipelines.assemble import Assembled
from pipelines.chunks import Row
from vgen.records import Curves, Still, Totals, VideoOutcome

KEPT_STILLS = 100
"""Pairs of stills that are kept for the report: those that changed most."""
KEPT_CURVES = 100
"""Videos whose curves are kept for the report: those that ended first."""


@dataclass(slots=True, kw_only=True)
class RunResult:
    """The state of a run, filled as its rows and videos come in."""

    spans_log: TextIO
    """Gets a JSON line a span: who did it, from when to when."""
    outcomes: dict[int, VideoOutcome] = field(default_factory=dict)
    """By index in the plan."""
    stills: dict[str, Still] = field(default_factory=dict)
    """By output URI."""
    curves: dict[str, Curves] = field(default_factory=dict)
    """By output URI."""
    stage_cpu_seconds: dict[str, float] = field(default_factory=dict)
    num_reused: int = 0
    """Chunks that were there already."""
    num_made: int = 0
    """Chunks that were made."""
    num_frames: int = 0
    """Frames in the chunks that were made."""

    def add_row(self, row: Row) -> None:
        """Count a span that ended."""
        self.spans_log.write(f"{json.dumps(row)}\n")
        self.num_made += not row["is_reused"] and not row["fault"]
        self.num_frames += int(str(row["frames"]))

    def settle(self, index: int, assembled: Assembled) -> None:
        """Keep how a video ended."""
        self.outcomes[index] = assembled.outcome
        for stage, spent in assembled.stage_cpu_seconds.items():
            self.stage_cpu_seconds[stage] = self.stage_cpu_seconds.get(stage, 0.0) + spent
        if assembled.still is not None:
            self.stills[assembled.outcome.output_uri] = assembled.still
        if assembled.curves is not None and len(self.curves) < KEPT_CURVES:
            self.curves[assembled.outcome.output_uri] = assembled.curves
        if len(self.stills) > KEPT_STILLS:
            del self.stills[min(self.stills, key=lambda uri: self.stills[uri].change)]


def totals_of(outcomes: list[VideoOutcome]) -> Totals:
    """Count outcomes; every listed video is in exactly one of the counts."""
    done = [one for one in outcomes if one.status == "done"]
    return Totals(
        listed=len(outcomes),
        done=len(done),
        skipped=sum(one.status == "skipped" for one in outcomes),
        failed=sum(one.status == "failed" for one in outcomes),
        frames=sum(one.frames for one in done),
        source_seconds=sum(one.duration_s for one in done),
    )
