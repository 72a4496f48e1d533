"""Sampling: which calls are made, and what becomes of their answers."""

import asyncio
import math

import msgspec
import pytest
from pydantic import ValidationError

from judging import case
from triptych.models.chat import CallFailed, Choice, Reply, TokenLogprob
from triptych.models.spec import OpenAIModel
from triptych.operators import GivenResponse, Outlook
from triptych.records import Message
from triptych.synthesis import Given, Sample


class Policies:
    """Answers each request with as many choices as asked for, and remembers the requests."""

    def __init__(self, choice=lambda request, place: Choice(text=f"{request.seed}-{place}"), **spec):
        self.choice = choice
        self.spec = spec
        self.requests = []

    def model(self, name):
        return OpenAIModel(model=f"{name}-7b", **self.spec)

    async def __call__(self, model, requests):
        self.requests += [(model, request) for request in requests]
        return [self._reply(request) for request in requests]

    def _reply(self, request):
        choices = [self.choice(request, place) for place in range(request.n)]
        if isinstance(choices[0], CallFailed):
            return choices[0]
        from judging import WHEN

        choices = tuple(choice for choice in choices if choice is not None)
        return Reply(call_id="c", choices=choices, prompt_tokens=7, completion_tokens=8, cost_usd=1.0, created_at=WHEN)


def made(sample, one=None, policies=None):
    policies = policies or Policies()
    return asyncio.run(sample.respond(one or case(), policies)), [request for _, request in policies.requests]


def test_each_model_gives_n_responses():
    policies = Policies()
    responses, _ = made(Sample(model=["a", "b"], n=3), policies=policies)
    assert [r.model for r in responses] == ["a-7b"] * 3 + ["b-7b"] * 3
    assert [r.sample_index for r in responses] == [0, 1, 2] * 2
    assert [model for model, _ in policies.requests] == ["a"] * 3 + ["b"] * 3
    assert len({r.id for r in responses}) == 6
    assert all(r.status == "ok" and r.text for r in responses)


def test_every_sample_has_a_seed_of_its_own_that_only_the_recipe_changes():
    _, first = made(Sample(model="a", n=4))
    _, again = made(Sample(model="a", n=4))
    _, other = made(Sample(model="a", n=4), msgspec.structs.replace(case(), seed=6))
    assert first == again
    assert len({request.seed for request in first + other}) == 8


def test_more_samples_leave_the_first_ones_as_they_are():
    few, few_requests = made(Sample(model="a", n=2))
    many, many_requests = made(Sample(model="a", n=4))
    assert many[:2] == few
    assert many_requests[:2] == few_requests


def test_temperatures_and_system_prompts_are_gone_through_in_turn():
    responses, requests = made(
        Sample(model="a", n=4, temperature=[0.2, 1.1], system=["Be brief.", "Be kind.", "Be odd."])
    )
    assert [request.temperature for request in requests] == [0.2, 1.1, 0.2, 1.1]
    assert [request.messages[0] for request in requests] == [
        Message("system", s) for s in ("Be brief.", "Be kind.", "Be odd.", "Be brief.")
    ]
    assert [r.params["system"] for r in responses] == ["Be brief.", "Be kind.", "Be odd.", "Be brief."]


def test_principles_are_drawn_and_every_one_has_its_chance():
    principles = ["Be honest.", "Be short.", "Be vivid."]
    responses, requests = made(Sample(model="a", n=60, system="You help.", principles=principles))
    drawn = [r.params["system"].removeprefix("You help.\n\n") for r in responses]
    assert set(drawn) == set(principles)
    assert all(drawn.count(principle) > 8 for principle in principles)
    assert [request.messages[0].content for request in requests] == [r.params["system"] for r in responses]


def test_several_choices_in_one_call_share_its_cost():
    responses, requests = made(Sample(model="a", n=5, samples_per_call=2))
    assert [request.n for request in requests] == [2, 2, 1]
    assert [r.sample_index for r in responses] == [0, 1, 2, 3, 4]
    assert [r.cost_usd for r in responses] == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert len({r.text for r in responses}) == 5


def test_only_samples_alike_share_a_call():
    responses, requests = made(Sample(model="a", n=4, temperature=[0.2, 1.1], samples_per_call=4))
    assert [(request.n, request.temperature) for request in requests] == [(2, 0.2), (2, 1.1)]
    assert [(r.sample_index, r.params["temperature"]) for r in responses] == [(0, 0.2), (1, 1.1), (2, 0.2), (3, 1.1)]


def test_an_endpoint_that_gives_fewer_choices_than_asked_leaves_failed_rows():
    one_only = Policies(lambda request, place: Choice(text="x") if place == 0 else None)
    responses, _ = made(Sample(model="a", n=3, samples_per_call=3), policies=one_only)
    assert [r.status for r in responses] == ["ok", "failed", "failed"]
    assert "samples_per_call: 1" in responses[1].error


def test_failed_and_refused_calls_are_rows():
    failing = Policies(lambda request, place: CallFailed(call_id="c", error="HTTP 500", attempts=3))
    responses, _ = made(Sample(model="a", n=2), policies=failing)
    assert [(r.status, r.error, r.messages) for r in responses] == [("failed", "HTTP 500", ())] * 2
    refusing = Policies(lambda request, place: Choice(text="", refusal="No.", finish_reason="stop"))
    responses, _ = made(Sample(model="a", n=1), policies=refusing)
    assert (responses[0].status, responses[0].text) == ("refused", "No.")


def test_log_probabilities_are_kept_and_summed():
    spoken = Choice(text="hi", logprobs=(TokenLogprob("h", math.log(0.5)), TokenLogprob("i", math.log(0.25))))
    policies = Policies(lambda request, place: spoken, logprobs=True)
    responses, requests = made(Sample(model="a", n=1, logprobs=True), policies=policies)
    assert responses[0].logprob == pytest.approx(math.log(0.125))
    assert responses[0].token_logprobs == (math.log(0.5), math.log(0.25))
    assert requests[0].top_logprobs == 0


def test_models_of_a_pool_draw_with_different_seeds():
    _, asked = made(Sample(model=["a", "b"], n=3))
    assert len({request.seed for request in asked}) == 6


def test_no_seed_is_sent_to_a_model_that_takes_none_or_draws_nothing():
    assert made(Sample(model="a", n=1), policies=Policies(send_seed=False))[1][0].seed is None
    assert made(Sample(model="a", n=1, temperature=0))[1][0].seed is None


def test_given_responses_are_taken_over_with_their_source():
    one = msgspec.structs.replace(case(), given=(GivenResponse("hi", "alice"), GivenResponse("yo", "gpt")))
    responses = asyncio.run(Given().respond(one, Policies()))
    assert [(r.text, r.model, r.sample_index, r.generator) for r in responses] == [
        ("hi", "alice", 0, "given"),
        ("yo", "gpt", 1, "given"),
    ]


def test_a_mixture_takes_the_model_of_each_response_by_its_share():
    mixed = Sample(model=["a", "b"], n=400, shares=[0.75, 0.25])
    responses, _ = made(mixed)
    assert sorted(response.sample_index for response in responses) == list(range(400))
    share = sum(response.model == "a-7b" for response in responses) / 400
    assert abs(share - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 400)
    again, _ = made(mixed)
    assert [r.id for r in again] == [r.id for r in responses]
    loads, outlook = mixed.forecast(Outlook(prompt_tokens=10))
    assert [load.calls for load in loads] == [300, 100]
    assert [load.most_calls for load in loads] == [400, 400]
    assert outlook.responses == 400


def test_a_model_that_no_response_falls_to_is_not_asked():
    responses, requests = made(Sample(model=["a", "b"], n=3, shares=[1.0, 0.0]))
    assert {r.model for r in responses} == {"a-7b"}
    assert len(requests) == 3


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.4], [0.5, 0.5, 0.0]])
def test_shares_must_fit_the_models(shares):
    with pytest.raises(ValidationError, match="adding up to 1"):
        Sample(model=["a", "b"], shares=shares)


def test_shots_stand_between_the_system_message_and_the_prompt():
    one = case()
    chat = (Message("system", "Be kind."), *one.prompt.messages)
    one = msgspec.structs.replace(one, prompt=msgspec.structs.replace(one.prompt, messages=chat))
    shown = Sample(model="a", n=1, system="Be brief.", shots=[{"prompt": "2+2?", "response": "4"}])
    (response,), (request,) = made(shown, one)
    assert request.messages == (
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "2+2?"),
        Message("assistant", "4"),
        *one.prompt.messages[1:],
    )
    assert response.params["shots"] == 1
    assert response.generator_id != made(Sample(model="a", n=1, system="Be brief."))[0][0].generator_id


def test_a_template_goes_around_the_last_user_message():
    one = case()
    text = one.prompt.text
    put = Sample(model="a", n=1, template="{{ prompt }}\n\nThink step by step.")
    (response,), (request,) = made(put, one)
    assert request.messages[-1] == Message("user", f"{text}\n\nThink step by step.")
    assert response.prompt_id == one.prompt.id
    assert response.generator_id != made(Sample(model="a", n=1), one)[0][0].generator_id


def test_what_a_prompt_says_is_no_template():
    one = case()
    evil = msgspec.structs.replace(one.prompt, messages=(Message("user", "{{ 7 * 7 }}"),))
    _, (request,) = made(Sample(model="a", n=1, template="Q: {{ prompt }}"), msgspec.structs.replace(one, prompt=evil))
    assert request.messages[-1].content == "Q: {{ 7 * 7 }}"


def test_a_template_that_asks_for_more_than_the_prompt_is_refused():
    with pytest.raises(ValidationError, match="may use prompt"):
        Sample(model="a", template="{{ reference }}")
