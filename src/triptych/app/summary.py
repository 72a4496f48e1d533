"""What came of a run: what was made, kept and why, how far to trust it, and what it cost."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import Any

import msgspec

from triptych.app.text import count, duration, json_text, many, one_line, usd
from triptych.audit.finding import FEWEST_PROMPTS, Finding
from triptych.audit.run import findings_of_blocks
from triptych.export.card import tallies
from triptych.store.blocks import blocks
from triptych.store.run import Manifest, Run

_WIDTH = 110
_STATES = {"warn": "WARN ", "error": "ERROR", "info": "     "}
_ROUTINE = frozenset({"responses_without_answer", "unparsed_judgements", "judgements_without_answer", "unique_answers"})
"""Findings that are worth a line only where something may be wrong."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run at a glance."""

    path: str
    manifest: Manifest
    responses: dict[str, int]
    """Responses by status."""
    judgements: dict[str, dict[str, int]]
    """Judgements of each evaluator by status."""
    examples: int
    outcomes: list[dict[str, Any]]
    """What became of the prompts under each instantiation."""
    findings: list[Finding]


def summary(run: Run) -> Summary:
    """Read a run's tables and say what is in them."""
    return Summary(
        path=str(run.path),
        manifest=run.manifest,
        responses=_by_status(run, "responses").get("", {}),
        judgements=_by_status(run, "judgements", "evaluator"),
        examples=_height(run, "examples"),
        outcomes=tallies(run).to_dicts(),
        findings=findings_of_blocks(blocks(run, "responses", "judgements", "examples")),
    )


def summary_json(summary: Summary) -> str:
    """A summary for machines."""
    return json_text(summary)


def summary_text(summary: Summary) -> str:
    """A summary for people."""
    manifest = summary.manifest
    head = f"{one_line(manifest.recipe)} in {summary.path}: {one_line(manifest.status, 200)}"
    parts = [head, _made(summary), _kept(summary), _trust(summary), _cost(manifest)]
    parts.append(f"Read on:  triptych show {summary.path} 1      triptych export {summary.path} --to trl")
    return "\n\n".join(part for part in parts if part)


def _made(summary: Summary) -> str:
    manifest = summary.manifest
    aside = f" ({many(manifest.set_aside, 'row')} set aside, see set_aside.jsonl)" if manifest.set_aside else ""
    if manifest.unmade:
        aside += f" ({many(manifest.unmade, 'new prompt')} left out, see unmade.jsonl)"
    lines = [
        "There are" if manifest.imported and not manifest.verdicts_of else "Made",
        f"  {many(manifest.prompts, 'prompt', 7)}{aside}",
        f"  {many(sum(summary.responses.values()), 'response', 7)}{_others(summary.responses)}",
    ]
    for evaluator, states in summary.judgements.items():
        judged = many(sum(states.values()), "judgement", 7)
        lines.append(f"  {judged} by {one_line(evaluator, 40)}{_others(states)}")
    return "\n".join([*lines, f"  {many(summary.examples, 'training example', 7)}"])


def _kept(summary: Summary) -> str:
    parts = []
    for _, outcomes in groupby(summary.outcomes, key=lambda outcome: outcome["strategy_id"]):
        told = [outcome for outcome in outcomes if outcome["prompts"]]
        if told:
            parts.append(f"Kept, by {one_line(told[0]['strategy'], 60)}")
        for outcome in told:
            kept = f" ({many(outcome['pairs'], 'pair')})" if outcome["pairs"] else ""
            parts.append(f"  {many(outcome['prompts'], 'prompt', 7)}: {one_line(outcome['outcome'])}{kept}")
    return "\n".join(parts)


def _trust(summary: Summary) -> str:
    lines = ["How far to trust it"]
    telling = [finding for finding in summary.findings if finding.change or finding.name not in _ROUTINE]
    for finding in telling:
        lines += textwrap.wrap(
            one_line(finding.message, 400),
            _WIDTH,
            initial_indent=f"  {_STATES[finding.severity]} ",
            subsequent_indent=" " * 8,
        )
        if finding.change and finding.severity != "info":
            lines += textwrap.wrap(finding.change, _WIDTH, initial_indent=" " * 8 + "-> ", subsequent_indent=" " * 11)
    others = [finding for finding in summary.findings if finding not in telling]
    few = sum(finding.few for finding in others)
    if len(others) > few:
        lines.append(f"  {many(len(others) - few, 'other check')} found nothing; --json lists them all")
    if few:
        too_few = f"saw fewer than {FEWEST_PROMPTS} prompts, too few to tell"
        lines.append(f"  {many(few, 'other check')} {too_few}; --json lists them all")
    if not summary.findings:
        lines.append("  Nothing could be measured: there are no responses and no judgements.")
    return "\n".join(lines)


def _cost(manifest: Manifest) -> str:
    if manifest.imported and not manifest.verdicts_of:
        took = f", in {duration(manifest.seconds)}" if manifest.seconds else ""
        return f"Imported\n  {one_line(manifest.imported, 300)}{took}; no call was made"
    if manifest.verdicts_of:
        return f"Made of the verdicts in {manifest.verdicts_of}; no call was made"
    lines = ["What it cost"]
    for stage, counts in manifest.counts.items():
        facts = [f"{count(counts['sent'])} calls", f"{count(counts['cached'])} from the call log"]
        facts += [f"{count(counts[name])} {name}" for name in ("retried", "failed") if counts[name]]
        tokens = f"{count(counts['prompt_tokens'])} tokens in, {count(counts['completion_tokens'])} out"
        lines.append(f"  {stage:<11} {', '.join(facts)}; {tokens}; {usd(counts['usd'])}")
    spent = manifest.spent
    if spent:
        total = f"{count(spent['calls'])} calls, {count(spent['tokens'])} tokens, {usd(spent['usd'])}"
        lines.append(f"  in all      {total} over all sittings; this one took {duration(manifest.seconds)}")
    return "\n".join(lines)


def _others(states: dict[str, int]) -> str:
    """The states that are not ok, if there are any."""
    others = [f"{count(number)} {state}" for state, number in sorted(states.items()) if state != "ok"]
    return f" ({', '.join(others)})" if others else ""


def _by_status(run: Run, table: str, key: str | None = None) -> dict[str, dict[str, int]]:
    import polars as pl

    name = pl.col(key) if key else pl.lit("")
    counted = run.table(table).group_by(name.alias("name"), "status").len().sort("name", "status")
    found: dict[str, dict[str, int]] = {}
    for who, status, number in counted.collect(engine="streaming").iter_rows():
        found.setdefault(who, {})[status] = number
    return found


def _height(run: Run, table: str) -> int:
    import polars as pl

    rows: int = run.table(table).select(pl.len()).collect().item()
    return rows
