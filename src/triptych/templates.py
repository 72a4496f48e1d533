"""Prompts for models that judge or revise: sandboxed templates, and material between marks made from its hash."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from hashlib import blake2b
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from triptych.errors import PromptError
from triptych.records import Message, Prompt, Response

if TYPE_CHECKING:
    from jinja2 import Template, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment


LETTERS = ascii_lowercase
"""Responses that are shown together are told apart by these."""


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)
    made.globals.clear()
    return made


_FILTERS = frozenset({"capitalize", "d", "default", "length", "lower", "title", "tojson", "trim", "truncate", "upper"})
_MOST_FILTERS = 12
"""Each may double the length of a text."""
_PARTS = frozenset(
    {"Template", "Output", "TemplateData", "Name", "Const", "If", "CondExpr", "Filter", "Keyword", "Test", "Compare"}
    | {"Operand", "And", "Or", "Not", "Concat", "Getitem", "Slice", "Add", "Sub", "Neg"}
)
"""All that a template may be made of. Its result is then about as long as the template and what is put in, together:
without loops, products and variables of its own it can take neither the machine's time nor its memory."""


def _refuse_other_parts(parsed: nodes.Node) -> None:
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError

    if sum(1 for _ in parsed.find_all(nodes.Filter)) > _MOST_FILTERS:
        raise SecurityError(f"more than {_MOST_FILTERS} filters")
    for part in parsed.find_all(nodes.Node):
        kind = type(part).__name__
        allowed = kind in _PARTS
        if isinstance(part, nodes.Filter):
            allowed, kind = part.name in _FILTERS, f"the filter {part.name}"
        if not allowed:
            raise SecurityError(f"{kind} (line {part.lineno})")


@lru_cache(maxsize=256)
def _compiled(template: str) -> Template:
    _refuse_other_parts(_environment().parse(template))
    compiled = _environment().from_string(template)
    compiled.globals = dict(compiled.globals)  # rendering copies them, which from a ChainMap takes half of its time
    return compiled


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template. What is filled in is data: template marks inside it mean nothing.

    Raises `PromptError` where the template asks for what this prompt lacks.
    """
    from jinja2 import UndefinedError

    try:
        return _compiled(template).render(values)
    except UndefinedError as error:
        raise PromptError(
            f"a template asks for what a prompt lacks: {error.message}. "
            "Put that part between {% if reference is defined %} and {% endif %}, or give every prompt one"
        ) from error


def checked_template(template: str, example: Mapping[str, Any]) -> str:
    """Return `template` if it can be filled in with values like `example`; raise `ValueError` saying why not."""
    from jinja2 import TemplateError
    from jinja2.exceptions import SecurityError

    try:
        _compiled(template).render(example)
    except SecurityError as error:
        raise ValueError(
            f"holds what templates may not: {error}. They may hold texts, {{{{ names }}}}, {{% if %}}, comparisons, "
            f"slices, and the filters {', '.join(sorted(_FILTERS))}"
        ) from error
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        place = f" on line {line}" if line else ""
        raise ValueError(f"can't be used{place}: {error.message}; it may use {', '.join(example)}") from error
    except Exception as error:
        raise ValueError(f"can't be filled in: {error}") from error
    return template


def transcript(messages: tuple[Message, ...]) -> str:
    """A chat as text: a single message as it is, several with their roles."""
    if len(messages) == 1 and not messages[0].tool_calls:
        return messages[0].content
    return "\n\n".join(_spoken(message) for message in messages)


def material(prompt: Prompt, *responses: Response) -> dict[str, Any]:
    """The texts that a judge is shown, each between marks that hold a hash of them all."""
    texts = [transcript(prompt.messages), *(transcript(response.messages) for response in responses)]
    mark = _mark(*texts)
    shown = {"prompt": fenced("prompt", texts[0], mark), "mark": mark}
    if prompt.reference is not None:
        shown["reference"] = fenced("reference", prompt.reference, mark)
    names = ["response"] if len(responses) == 1 else [f"response_{letter}" for letter in LETTERS[: len(responses)]]
    return shown | {name: fenced(name, text, mark) for name, text in zip(names, texts[1:], strict=True)}


def fenced(name: str, text: str, mark: str) -> str:
    """A text between tags that hold the mark, so that no other text can end it."""
    return f"<{name} {mark}>\n{text}\n</{name} {mark}>"


def fenced_anew(name: str, text: str, seen: str) -> str:
    """A text of somebody who was shown a mark, and may repeat it, between tags with a mark that nobody has seen."""
    return fenced(name, text, _mark(seen, text))


def _mark(*texts: str) -> str:
    """A hash of texts; who writes one of them can't foresee it."""
    return blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _spoken(message: Message) -> str:
    calls = "".join(f"\n[calls {call.name} with {call.arguments}]" for call in message.tool_calls)
    return f"{message.role}: {message.content}{calls}"
