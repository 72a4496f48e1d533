"""Search over steps: solutions are grown step by step where an evaluator finds their ends good."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from triptych.continuation import Continuing, joined
from triptych.models.chat import Ask, CallFailed, Reply
from triptych.operators import Case, Evaluator, Load, Operator, Outlook, nested
from triptych.parts import parts
from triptych.records import Message, Response, make_response
from triptych.synthesis._answers import answered
from triptych.verdicts import mean_verdicts

if TYPE_CHECKING:
    _Evaluation = Evaluator
else:
    _Evaluation = nested("evaluation")

_USUAL_TOKENS = 200


class Search(Continuing):
    """Grows a tree of solutions: each call goes on from the end of a step to the end, and opens that step's next one.

    A node is a beginning of a solution, up to the end of a step; its value is the mean of what the evaluator says of
    the solutions that go through it, in [0, 1]. `how: mcts` goes on, in each of `rounds`, from the node that the rule
    UCT leads to (the value, and `exploration` times the root of log visits of the parent over visits). `how: beam`
    goes on, in the round of each depth, from the `width` best nodes of that depth. `branching` solutions are drawn from
    a node at a time. All solutions become responses: `parent_id` is the one that its node was first seen in, `params`
    holds how many characters they share (`prefix`), its depth and its value.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name"})

    kind: Literal["search"] = "search"
    name: str | None = None
    """What responses call the generator; its kind if not given."""
    evaluator: _Evaluation
    """An evaluator of whole solutions. Its verdicts steer; it is asked again for the rows where panel 2 has it."""
    how: Literal["mcts", "beam"] = "mcts"
    """The rule by which nodes are chosen."""
    rounds: int = Field(default=8, ge=1, le=10_000)
    """Times that a node is chosen and gone on from; with `beam`, the greatest depth."""
    branching: int = Field(default=2, ge=1, le=100)
    """Solutions drawn from a chosen node."""
    width: int = Field(default=2, ge=1, le=100)
    """With `beam`: nodes that are gone on from at each depth."""
    exploration: float = Field(default=1.4, ge=0)
    """With `mcts`: how much what was seldom tried counts."""

    @property
    def inner(self) -> dict[str, Operator]:
        """The evaluator of solutions."""
        return {"evaluator": self.evaluator}  # type: ignore[dict-item]

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Search, and make a response of every solution, in the order in which they were found."""
        root = _Node("", 0, None)
        found: list[Response] = []
        for depth in range(self.rounds):
            chosen = self._leaf(root) if self.how == "mcts" else self._best(root, depth)
            if not chosen:
                break
            found += await self._grown(case, chosen, len(found), ask)
        return found

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect every round to find a node to go on from."""
        most = self.branching * (self.rounds if self.how == "mcts" else 1 + (self.rounds - 1) * self.width)
        around = outlook.prompt_tokens + len(self.continue_template) / 4
        length = min(self.max_tokens, _USUAL_TOKENS)
        load = Load(
            model=self.model,
            calls=most,
            prompt_tokens=most * (around + length / 2),
            completion_tokens=most * length,
            most_calls=most,
            # What is gone on from may itself have been gone on to, in every round before.
            most_prompt_tokens=most * (around + self.rounds * self.max_tokens),
            most_completion_tokens=most * self.max_tokens,
        )
        longest = float(self.rounds * self.max_tokens)
        alone = msgspec.structs.replace(outlook, responses=0.0).with_responses(most, length, longest)
        return [load, *self.evaluator.forecast(alone)], outlook.with_responses(most, length, longest)

    def _leaf(self, root: _Node) -> list[_Node]:
        """Down from the root, to the child of the greatest bound, until one has not been gone on from."""
        node = root
        while node.grown:
            open_ones = [child for child in node.children.values() if not child.closed]
            if not open_ones:
                node.close()
                if node.parent is None:
                    return []
                node = root
                continue
            node = max(open_ones, key=lambda child: child.bound(self.exploration))
        return [node]

    def _best(self, root: _Node, depth: int) -> list[_Node]:
        level = [root]
        for _ in range(depth):
            level = [child for node in level for child in node.children.values()]
        fit = [node for node in level if not node.closed and not node.grown]
        return sorted(fit, key=lambda node: -node.value)[: self.width]

    async def _grown(self, case: Case, nodes: list[_Node], number: int, ask: Ask) -> list[Response]:
        """Draw solutions from these nodes, and let what they are worth count for all nodes they go through."""
        spec = ask.model(self.model)
        asked = [
            self.continuing(case, spec, node.text, node.visits, index)
            for node in nodes
            for index in range(self.branching)
        ]
        replies = await ask(self.model, asked)
        drawn = [node for node in nodes for _ in range(self.branching)]
        made = [
            self._response(case, ask, node, reply, number + place)
            for place, (node, reply) in enumerate(zip(drawn, replies, strict=True))
        ]
        good = tuple(response for response in made if response.status == "ok")
        here = msgspec.structs.replace(case, responses=good, judgements=())
        values = mean_verdicts(await self.evaluator.judge(here, ask), case.objective) if good else {}
        for node in nodes:
            node.grown = True
        for place, (node, response) in enumerate(zip(drawn, made, strict=True)):
            if response.id in values:
                node.hang(response, values[response.id])
                params = response.params | {"value": round(values[response.id], 12)}
                made[place] = msgspec.structs.replace(response, params=params)
        return made

    def _response(self, case: Case, ask: Ask, node: _Node, reply: Reply | CallFailed, index: int) -> Response:
        spec = ask.model(self.model)
        made: dict[str, Any] = {
            "prompt_id": case.prompt.id,
            "generator": self.name or self.kind,
            "generator_id": self.identity(spec, held=self.held(case.objective, ask.model)),
            "model": spec.model,
            "model_version": spec.version,
            "sample_index": index,
            "parent_id": node.seen_in,
            "params": {"temperature": self.temperature, "max_tokens": self.max_tokens}
            | ({"prefix": len(node.text), "depth": node.depth} if node.seen_in else {}),
        }
        said = answered(reply, 0)
        if said["messages"]:
            said["messages"] = (Message("assistant", joined(node.text, said["messages"][-1].content, node.between)),)
        return make_response(**made, **said)


class _Node:
    """A beginning of solutions."""

    def __init__(self, text: str, depth: int, parent: _Node | None, seen_in: str | None = None) -> None:
        self.text = text
        self.depth = depth
        self.parent = parent
        self.seen_in = seen_in
        self.between = ""
        """The white space after it in the solution that it was first seen in, so that others have the same steps."""
        self.children: dict[str, _Node] = {}
        self.visits = 0
        self.total = 0.0
        self.grown = False
        self.closed = False

    @property
    def value(self) -> float:
        # Rounded, so that the order in which floats are added can't make or break a tie: the first then goes first.
        return round(self.total / self.visits, 12) if self.visits else 0.0

    def bound(self, exploration: float) -> float:
        above = self.parent.visits if self.parent else 1
        return self.value + exploration * math.sqrt(math.log(max(above, 1)) / max(self.visits, 1))

    def hang(self, solution: Response, value: float) -> None:
        """Put the next step of a solution below, and count what it is worth from there up to the root."""
        text = solution.text
        end = next((part.end for part in parts(text, "step") if part.end > len(self.text.rstrip())), len(text))
        child = self.children.setdefault(text[:end], _Node(text[:end], self.depth + 1, self, solution.id))
        rest = text[end:]
        child.between = child.between or rest[: len(rest) - len(rest.lstrip())]
        if not rest.strip():
            child.closed = True  # a whole solution: nothing follows
        node: _Node | None = child
        while node is not None:
            node.visits += 1
            node.total += value
            node = node.parent

    def close(self) -> None:
        """Nothing is left to go on from below this node."""
        self.closed = True
