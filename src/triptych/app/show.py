"""`triptych show`: a run's summary, or one row with all that it rests on and all that rests on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from triptych.app.summary import summary, summary_json, summary_text
from triptych.app.text import clean, one_line, say, usd
from triptych.errors import TriptychError
from triptych.store.run import Run, open_run

if TYPE_CHECKING:
    import polars as pl

_TABLES = {"p": "prompts", "r": "responses", "j": "judgements", "e": "examples"}
_LONGEST_TEXT = 2000
_SEVERAL = "several rows begin with {}; give more of the id"


class NotFound(TriptychError):
    """No row, or more than one, has the id."""


def show_command(folder: str, row_id: str | None, *, as_json: bool) -> None:
    """Show a run, or one of its rows."""
    run = open_run(folder)
    if row_id is None:
        shown = summary(run)
        if as_json:
            click.echo(summary_json(shown))
        else:
            say(summary_text(shown))
        return
    kind, row = find_row(run, row_id)
    story = _STORIES[kind](run, row)
    story["judgements"] = _with_tokens(run, story["judgements"])
    if as_json:
        click.echo(json.dumps(story, default=str))
    else:
        say("\n".join([*_lines(story), *_gone(run)]))


def find_row(run: Run, row_id: str) -> tuple[str, dict[str, Any]]:
    """Find the row that an id, its first characters, or a prompt's number names. Raises `NotFound`."""
    if not row_id.isascii():
        raise NotFound(f"the run has no {row_id}; ids are of digits and letters from a to z")
    if row_id.isdigit() and len(row_id) < 10:
        number = int(row_id)
        found = run.prompts().slice(max(number - 1, 0), min(number, 1)).collect()
        return "prompts", _only(found, f"prompt number {row_id}")
    table = _TABLES.get(row_id[0]) if row_id[1:2] == "_" else None
    if table is None:
        return "calls", _call(run, row_id)
    import polars as pl

    found = run.table(table).filter(pl.col("id").str.starts_with(row_id)).head(2).collect()
    return table, _only(found, row_id)


def _only(found: pl.DataFrame, name: str) -> dict[str, Any]:
    if found.height == 0:
        raise NotFound(f"the run has no {name}")
    if found.height > 1:
        raise NotFound(_SEVERAL.format(name))
    return found.row(0, named=True)


def _call(run: Run, call_id: str) -> dict[str, Any]:
    if run.manifest.imported:
        raise NotFound(f"the run has no row {call_id}; ids begin with p_, r_, j_ or e_, and imported data has no calls")
    log = run.calls()
    try:
        found = log.beginning_with(call_id)
    finally:
        log.close()
    if not found:
        raise NotFound(
            f"the run has no row and no call {call_id}; ids begin with p_, r_, j_ or e_, calls have 32 digits"
        )
    if len(found) > 1:
        raise NotFound(_SEVERAL.format(call_id))
    (call,) = found
    facts = msgspec.structs.asdict(call)
    return facts | {"request": json.loads(call.request), "reply": json.loads(call.reply)}


def _with_tokens(run: Run, judgements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Judgements with the tokens of their calls, which stand in the call log alone; None where it is gone."""
    asked = sorted({call_id for row in judgements for call_id in row["call_ids"] or ()})
    known: dict[str, tuple[int, int]] = {}
    if asked and run.calls_path.exists():
        log = run.calls()
        known = log.tokens(asked)
        log.close()
    return [row | _tokens([known.get(call_id) for call_id in row["call_ids"] or ()]) for row in judgements]


def _tokens(calls: Sequence[tuple[int, int] | None]) -> dict[str, int | None]:
    known = [call for call in calls if call is not None]
    names = ("prompt_tokens", "completion_tokens")
    if len(known) < len(calls):
        return dict.fromkeys(names)
    return {name: sum(call[place] for call in known) for place, name in enumerate(names)}


def _rows(run: Run, table: str, condition: pl.Expr) -> list[dict[str, Any]]:
    return run.table(table).filter(condition).collect().to_dicts()


def _of_prompt(run: Run, prompt_id: str) -> dict[str, Any]:
    """A prompt with everything that was made of it."""
    import polars as pl

    mine = pl.col("prompt_id") == prompt_id
    return {
        "prompt": _only(run.prompts().filter(pl.col("id") == prompt_id).collect(), prompt_id),
        "responses": _rows(run, "responses", mine),
        "judgements": _rows(run, "judgements", mine),
        "examples": _rows(run, "examples", mine),
    }


def _story_of_prompt(run: Run, prompt: dict[str, Any]) -> dict[str, Any]:
    return _of_prompt(run, prompt["id"])


def _story_of_response(run: Run, response: dict[str, Any]) -> dict[str, Any]:
    story = _of_prompt(run, response["prompt_id"])
    return _narrowed(story, {response["id"]})


def _story_of_judgement(run: Run, judgement: dict[str, Any]) -> dict[str, Any]:
    story = _narrowed(_of_prompt(run, judgement["prompt_id"]), set(judgement["response_ids"]))
    about = {*(judgement.get("about") or ())}
    story["judgements"] = [
        one
        for one in story["judgements"]
        if one["id"] == judgement["id"] or one["id"] in about or judgement["id"] in (one.get("about") or ())
    ]
    story["examples"] = [e for e in story["examples"] if judgement["id"] in (e["judgement_ids"] or ())]
    return story


def _story_of_example(run: Run, example: dict[str, Any]) -> dict[str, Any]:
    story = _narrowed(_of_prompt(run, example["prompt_id"]), set(example["response_ids"]))
    story["judgements"] = [j for j in story["judgements"] if j["id"] in (example["judgement_ids"] or ())]
    story["examples"] = [example]
    return story


def _narrowed(story: dict[str, Any], responses: set[str]) -> dict[str, Any]:
    """Keep what touches these responses."""
    return {
        "prompt": story["prompt"],
        "responses": [r for r in story["responses"] if r["id"] in responses],
        "judgements": [j for j in story["judgements"] if responses & set(j["response_ids"])],
        "examples": [e for e in story["examples"] if responses & set(e["response_ids"])],
    }


def _story_of_call(run: Run, call: dict[str, Any]) -> dict[str, Any]:
    import polars as pl

    paid = pl.col("call_ids").list.contains(call["call_id"])
    made = run.prompts().collect_schema().names()  # runs of before have no prompts that were written by calls
    return {
        "call": call,
        "prompts": _rows(run, "prompts", paid) if "call_ids" in made else [],
        "responses": _rows(run, "responses", paid),
        "judgements": _rows(run, "judgements", paid),
    }


_STORIES = {
    "prompts": _story_of_prompt,
    "responses": _story_of_response,
    "judgements": _story_of_judgement,
    "examples": _story_of_example,
    "calls": _story_of_call,
}


def _lines(story: dict[str, Any]) -> Iterator[str]:
    names = {row["id"]: f"#{place}" for place, row in enumerate(story["responses"], start=1)}
    if "call" in story:
        yield from _call_lines(story["call"])
    if "prompt" in story:
        yield from _prompt_lines(story["prompt"])
    for row in story.get("prompts", ()):
        yield from ("", *_prompt_lines(row))
    for row in story["responses"]:
        yield from _response_lines(row, names)
    for row in story["judgements"]:
        yield from _judgement_lines(row, names)
    for row in story.get("examples", ()):
        yield from _example_lines(row, names)


def _gone(run: Run) -> Iterator[str]:
    if not run.manifest.imported and not run.calls_path.exists():
        yield from (
            "",
            f"the call log {run.calls_path} is not there: calls and the tokens of judgements can't be shown",
        )


def _call_lines(call: dict[str, Any]) -> Iterator[str]:
    yield f"call {call['call_id']}  {one_line(call['model'], 60)}  {usd(call['cost_usd'])}"
    yield f"  {_counted(call)}, {call['reply'].get('latency_s', 0)} s"
    yield "  asked:"
    yield from _block(json.dumps(call["request"], indent=2, ensure_ascii=False))
    yield "  answered:"
    yield from _block(json.dumps(call["reply"], indent=2, ensure_ascii=False))


def _prompt_lines(prompt: dict[str, Any]) -> Iterator[str]:
    yield f"prompt {prompt['id']}  {one_line(prompt['source'] or '', 40)}"
    if prompt["parent_id"] is not None:
        yield f"  made from {one_line(prompt['parent_id'], 60)}; calls {' '.join(prompt.get('call_ids') or ())}"
    for message in prompt["messages"]:
        yield f"  {message['role']}:"
        yield from _message_lines(message)
    if prompt["reference"] is not None:
        yield f"  reference: {one_line(prompt['reference'])}"
    if prompt["constraints"] not in (None, "[]"):
        yield f"  constraints: {one_line(prompt['constraints'], 300)}"


def _response_lines(row: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    yield ""
    yield f"response {names[row['id']]} {row['id']}  {one_line(row['model'], 60)}  {one_line(row['params'], 160)}"
    if row["status"] != "ok":
        yield _lost(row)
    messages = row["messages"] or ()
    for message in messages:
        if len(messages) > 1:
            yield f"  {message['role']}:"
        yield from _message_lines(message)
    if row["call_ids"]:
        yield f"  {_counted(row)}, {one_line(row['finish_reason'] or 'no finish reason', 40)}, {_paid(row)}"


def _message_lines(message: dict[str, Any]) -> Iterator[str]:
    """What a message says, and the tools that it calls."""
    calls = message["tool_calls"] or ()
    if message["content"] or not calls:
        yield from _block(message["content"] or "")
    for call in calls:
        yield f"    calls {one_line(call['name'] or '', 60)} with {one_line(call['arguments'] or '', 300)}"


def _judgement_lines(row: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    shown = " then ".join(names.get(each, each) for each in row["response_ids"])
    if row["step"] is not None:
        shown += f", {row['step']['unit']} {row['step']['index'] + 1}"
    if row.get("about"):
        shown = f"{' then '.join(row['about'])}, which are of {shown}"
    yield ""
    yield f"judgement {row['id']}  {one_line(row['criterion'], 40)} by {one_line(row['evaluator'], 40)}  of {shown}"
    yield _lost(row) if row["status"] != "ok" else f"  {_verdict(row)}"
    if row["rationale"]:
        yield from _block(row["rationale"])
    if row["raw"]:
        yield from _block(row["raw"])
    if row["call_ids"]:
        yield f"  {_counted(row)}, {_paid(row)}"


def _verdict(row: dict[str, Any]) -> str:
    parts = [f"check {one_line(row['check'], 40)}"] if row["check"] else []
    if row["scores"] is not None:
        scale = " on {:g} to {:g}".format(*row["scale"]) if row["scale"] else ""
        parts.append(f"score {', '.join(f'{score:g}' for score in row['scores'])}{scale}")
    if row["ranks"] is not None:
        parts.append(f"ranks {', '.join(map(str, row['ranks']))}")
    if row["probability"] is not None:
        parts.append(f"probability of the first {row['probability']:.3f}")
    return ", ".join(parts)


def _example_lines(row: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    yield ""
    yield f"example {row['id']}  {row['kind']} by {one_line(row['strategy'], 60)}"
    if row["kind"] == "stepwise":
        (response,) = row["response_ids"]
        labels = " ".join(f"{label:.3g}" for label in row["labels"])
        yield f"  parts of {names.get(response, '')} {response}, labelled {labels}"
    for place, response in enumerate(row["response_ids"] if row["kind"] != "stepwise" else ()):
        role = ("chosen", "rejected")[place] if row["kind"] == "pair" else f"response {place + 1}"
        score = f", score {row['scores'][place]:.3f}" if place < len(row["scores"] or ()) else ""
        yield f"  {role}: {names.get(response, '')} {response}{score}"
    for span in row.get("spans") or ():
        where = names.get(row["response_ids"][span["response"]], "")
        yield f"  of {where} the characters from {span['start']} to {span['end']} weigh {span['value']:g}"
    yield from _own_texts(row)
    margin = "" if row["margin"] is None else f"margin {row['margin']:.3f}, "
    yield f"  {margin}weight {row['weight']:g}, rests on {len(row['judgement_ids'] or ())} judgements"


def _own_texts(row: dict[str, Any]) -> Iterator[str]:
    """What is shown and said in training where that is not the prompt and the responses."""
    if row.get("input"):
        yield "  shown in training:"
        for message in row["input"]:
            yield f"    {message['role']}:"
            yield from _message_lines(message)
    for place, output in enumerate(row.get("outputs") or ()):
        label = f", labelled {row['labels'][place]:g}" if row["kind"] == "unpaired" else ""
        yield f"  {('chosen', 'rejected')[place] if row['kind'] == 'pair' else 'to say'}{label}:"
        yield from _block(output)


def _lost(row: dict[str, Any]) -> str:
    return f"  {row['status']}: {one_line(row['error'] or '', 300)}"


def _counted(row: dict[str, Any]) -> str:
    """The tokens, as far as they are known."""
    if row["prompt_tokens"] is None and row["completion_tokens"] is None:
        return "tokens not known"
    return f"{row['prompt_tokens'] or 0} tokens in, {row['completion_tokens'] or 0} out"


def _paid(row: dict[str, Any]) -> str:
    return f"{usd(row['cost_usd'])}; calls {' '.join(row['call_ids'])}"


def _block(text: str) -> Iterator[str]:
    return (f"    {line}" for line in clean(text, _LONGEST_TEXT).split("\n"))
