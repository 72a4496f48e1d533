"""The loopback endpoint of the tests does what its options say."""

import http.client
import json
import math
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from endpoint import Running, endpoint

SCHEMA = {
    "$defs": {"Verdict": {"type": "object", "properties": {"ok": {"type": "boolean"}, "why": {"type": "string"}}}},
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 2, "maximum": 7},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "winner": {"enum": ["A", "B", "tie"]},
        "ranking": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 4},
            "minItems": 4,
            "maxItems": 4,
            "uniqueItems": True,
        },
        "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
        "verdict": {"$ref": "#/$defs/Verdict"},
    },
    "required": ["score", "share", "winner", "ranking", "note", "verdict"],
}


def chat(content: str = "Hello", **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def judge(content: str, schema: object = None, **more: object) -> dict[str, object]:
    named = {"name": "verdict", "schema": schema or SCHEMA}
    return chat(content, response_format={"type": "json_schema", "json_schema": named}, **more)


def post(
    server: Running, body: object, timeout: float = 10, path: str = "chat/completions", **headers: str
) -> tuple[int, dict, dict]:
    """Status, answer and headers."""
    request = urllib.request.Request(
        f"{server.base_url}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, json.load(response), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def text(server: Running, body: object) -> str:
    status, answer, _ = post(server, body)
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def plain():
    with endpoint() as server:
        yield server


def test_an_answer_depends_on_the_body_and_nothing_else(plain):
    first = post(plain, chat(seed=1))
    with endpoint(seed=7) as other:
        assert post(other, dict(reversed(chat(seed=1).items())))[1] == first[1]
    assert text(plain, chat(seed=2)) != text(plain, chat(seed=1))
    assert 20 <= len(text(plain, chat(seed=1)).split()) <= 60


def test_n_gives_different_choices_and_usage_counts_them_all(plain):
    _, answer, _ = post(plain, chat(n=4))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 4
    words = sum(len(choice["message"]["content"].split()) for choice in answer["choices"])
    assert 1.3 * words <= answer["usage"]["completion_tokens"] <= 1.3 * words + 4
    with endpoint(ignore_n=True, no_usage=True) as server:
        _, answer, _ = post(server, chat(n=4))
        assert len(answer["choices"]) == 1
        assert "usage" not in answer


def test_max_tokens_cuts_the_answer(plain):
    _, answer, _ = post(plain, chat(max_tokens=10))
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 10
    assert post(plain, chat(max_tokens=500))[1]["choices"][0]["finish_reason"] == "stop"


def test_schema_answers_conform(plain):
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    for number in range(50):
        jsonschema_rs.validate(SCHEMA, json.loads(text(plain, judge(f"Judge {number}"))))


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("Which is better, A or B?", "AB"),
        ("Answer with [A], [B] or [C].", "ABC"),
        ("Give a score from 1 to 5.", "12345"),
    ],
)
def test_a_one_token_answer_is_one_of_those_asked_for(plain, asked, allowed):
    answers = {text(plain, chat(asked, max_tokens=1, seed=seed)) for seed in range(60)}
    assert answers == set(allowed)


def test_logprobs_of_a_one_token_answer_lie_over_what_it_could_have_been(plain):
    integer = {"type": "integer", "minimum": 1, "maximum": 5}
    for seed in range(20):
        _, answer, _ = post(plain, judge("Score", integer, logprobs=True, top_logprobs=5, seed=seed))
        choice = answer["choices"][0]
        (token,) = choice["logprobs"]["content"]
        assert token["token"] == choice["message"]["content"]
        likely = {entry["token"]: entry["logprob"] for entry in token["top_logprobs"]}
        assert set(likely) == set("12345")
        assert likely[token["token"]] == token["logprob"]
        assert 0.95 < sum(map(math.exp, likely.values())) <= 1
        assert list(likely.values()) == sorted(likely.values(), reverse=True)


def test_logprobs_spell_the_answer(plain):
    _, answer, _ = post(plain, chat(logprobs=True, top_logprobs=3))
    content = answer["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == answer["choices"][0]["message"]["content"]
    assert {len(entry["top_logprobs"]) for entry in content} == {3}
    assert len(content) == answer["usage"]["completion_tokens"]


def is_json(answer: str) -> bool:
    try:
        json.loads(answer)
    except ValueError:
        return False
    return True


def reask(body: dict, answer: str) -> dict:
    more = [{"role": "assistant", "content": answer}, {"role": "user", "content": "Answer in JSON."}]
    return {**body, "messages": [*body["messages"], *more]}


def test_the_tokens_of_a_chat_have_log_probabilities_that_its_end_is_spelt_from(plain):
    said = "It is Paris, of course."
    asked = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": said}]
    told = [
        post(plain, {"model": model, "messages": asked, "prompt_logprobs": 0, "continue_final_message": True})[1]
        for model in ("m", "m", "other")
    ]
    assert told[0] == told[1]
    first, *rest = told[0]["prompt_logprobs"]
    assert first is None
    each = [row[str(token)] for row, token in zip(rest, told[0]["prompt_token_ids"][1:], strict=True)]
    assert "".join(token["decoded_token"] for token in each).endswith("<|assistant|>" + said)
    assert all(-5 < token["logprob"] < 0 for token in each)
    assert told[2]["prompt_logprobs"] != told[0]["prompt_logprobs"]
    assert "prompt_logprobs" not in post(plain, chat())[1]


def test_texts_that_share_words_have_embeddings_that_point_alike(plain):
    def vectors(*texts: str) -> list[list[float]]:
        status, answer, _ = post(plain, {"model": "e", "input": list(texts)}, path="embeddings")
        assert status == 200
        return [each["embedding"] for each in answer["data"]]

    one, alike, apart = vectors("A small green apple.", "a green apple", "Seven trains left the town")
    assert vectors("A small green apple.") == [one]
    assert math.hypot(*one) == pytest.approx(1, abs=1e-4)
    assert sum(map(math.prod, zip(one, alike, strict=True))) > 0.8
    assert abs(sum(map(math.prod, zip(one, apart, strict=True)))) < 0.5
    assert post(plain, {"model": "e"}, path="embeddings")[0] == 400


def test_malformed_answers_come_at_the_first_asking_only():
    with endpoint(malformed=0.2) as server, endpoint(malformed=0.2, malformed_always=True) as stubborn:
        bodies = [judge(f"Judge {number}") for number in range(400)]
        answers = [text(server, body) for body in bodies]
        bad = [(body, answer) for body, answer in zip(bodies, answers, strict=True) if not is_json(answer)]
        assert 50 < len(bad) < 110
        for body, answer in bad:
            assert text(server, body) == answer
            assert is_json(text(server, reask(body, answer)))
            assert not is_json(text(stubborn, reask(body, answer)))
        assert is_json(text(stubborn, reask(bodies[0], answers[0]))) == is_json(answers[0])


def test_faults_keep_to_their_share_and_a_retry_can_succeed():
    with endpoint(faults=0.1, fault_kinds="429,500,503", retry_after=0.05) as server:

        def statuses() -> list[int]:
            return [post(server, chat("the same body"))[0] for _ in range(1000)]

        first = statuses()
        assert first.count(200) == server.stats()["answered"]
        assert 60 < 1000 - first.count(200) < 140
        faults = server.stats()["faults"]
        assert faults == {kind: first.count(int(kind)) for kind in ("429", "500", "503")}
        assert max(faults.values()) - min(faults.values()) <= 1
        server.reset()
        assert statuses() == first

    with endpoint(faults=1.0, fault_kinds="429", retry_after=0.05) as server:
        status, answer, headers = post(server, chat())
        assert (status, headers["Retry-After"], answer["error"]["type"]) == (429, "0.05", "rate_limit_error")


def test_a_hang_never_answers_and_a_reset_breaks_the_connection():
    with endpoint(faults=1.0, fault_kinds="hang,reset") as server:
        with pytest.raises(TimeoutError):
            post(server, chat(), timeout=0.3)
        with pytest.raises((ConnectionResetError, urllib.error.URLError)):
            post(server, chat())
        deadline = time.monotonic() + 5
        while server.stats()["in_flight"] and time.monotonic() < deadline:
            time.sleep(0.01)
        stats = server.stats()
        assert stats["faults"] == {"hang": 1, "reset": 1}
        assert (stats["in_flight"], stats["abandoned"]) == (0, 1)


def test_always_status_echoes_the_key():
    with endpoint(always_status=401) as server:
        status, answer, _ = post(server, chat(), Authorization="Bearer sk-secret")
        assert status == 401
        assert "sk-secret" in answer["error"]["message"]


def test_api_key_is_needed():
    with endpoint(api_key="sk-right") as server:
        assert post(server, chat(), Authorization="Bearer sk-right")[0] == 200
        assert post(server, chat(), Authorization="Bearer sk-wrong")[0] == 401
        assert post(server, chat())[0] == 401


def test_more_in_flight_than_the_capacity_gets_429():
    with endpoint(capacity=4, latency_ms=600) as server, ThreadPoolExecutor(10) as pool:
        statuses = Counter(pool.map(lambda number: post(server, chat(str(number)))[0], range(10)))
        assert statuses == {200: 4, 429: 6}
        assert server.stats()["faults"] == {"capacity": 6}


def test_latency_and_slow_after_delay_the_answer():
    with endpoint(latency_ms=100, slow_after="2:200") as server, ThreadPoolExecutor(4) as pool:

        def seconds(number: int) -> float:
            started = time.perf_counter()
            post(server, chat(str(number)))
            return time.perf_counter() - started

        assert 0.09 < seconds(0) < 0.4
        slowest = max(pool.map(seconds, range(1, 5)))
        assert 0.49 < slowest < 2


def test_some_bodies_always_fail():
    with endpoint(fail_body=["poison: yes:400", 'say "no":500']) as server:
        assert post(server, chat("a poison: yes pill"))[0] == 400
        assert post(server, chat('say "no" twice'))[0] == 500
        assert post(server, chat("fine"))[0] == 200


def test_it_goes_down_after_some_answers_and_comes_back_on_the_same_port():
    with endpoint(down_after=3, latency_ms=50) as server, ThreadPoolExecutor(8) as pool:

        def survives(number: int) -> bool:
            try:
                return post(server, chat(str(number)))[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        assert sum(pool.map(survives, range(8))) == 3
        assert server.process.wait(timeout=5) == 0
    with endpoint(port=int(server.url.rpartition(":")[2])) as again:
        assert again.base_url == server.base_url
        assert post(again, chat())[0] == 200


def test_no_json_schema_refuses_but_reads_a_schema_in_the_prompt():
    with endpoint(no_json_schema=True) as server:
        status, answer, _ = post(server, judge("Judge"))
        assert (status, answer["error"]["param"]) == (400, "response_format")
        asked = f"Answer in JSON by this schema: {json.dumps(SCHEMA)} and nothing else."
        assert set(json.loads(text(server, chat(asked)))) == set(SCHEMA["properties"])


def test_the_record_and_the_counts():
    with endpoint(record=True) as server:
        bodies = [chat("one"), chat("two\nlines"), chat("one")]
        for body in bodies:
            post(server, body)
        assert server.requests() == bodies
        stats = server.stats()
        assert (stats["requests"], stats["answered"], stats["unique_bodies"]) == (3, 3, 2)
        assert (stats["repeated_bodies"], stats["repeated_answers"], stats["max_in_flight"]) == (1, 1, 1)
        server.reset()
        assert server.requests() == []
        assert server.stats()["requests"] == 0
        with urllib.request.urlopen(f"{server.base_url}/models") as response:
            assert len(json.load(response)["data"]) == 1


def test_a_body_that_was_only_met_with_faults_is_no_repeated_answer():
    with endpoint(faults=1.0, fault_kinds="500") as server:
        post(server, chat())
        post(server, chat())
        assert server.stats()["repeated_bodies"] == 1
        assert server.stats()["repeated_answers"] == 0


def test_pipelined_split_and_very_large_requests_are_answered(plain):
    def raw(body: object) -> bytes:
        data = json.dumps(body).encode()
        return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
            len(data),
            data,
        )

    address = ("127.0.0.1", int(plain.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=20) as connection:
        expected = [text(plain, chat(word)) for word in ("one", "two")]
        connection.sendall(raw(chat("one")) + raw(chat("two")))
        for byte in raw(chat("one")):
            connection.sendall(bytes([byte]))
        for wanted in [*expected, expected[0]]:
            response = http.client.HTTPResponse(connection, method="POST")
            response.fp = connection.makefile("rb", 0)  # Unbuffered, so that it leaves the next answer alone.
            response.begin()
            assert json.load(response)["choices"][0]["message"]["content"] == wanted
    assert len(text(plain, chat("word " * 10_000_000))) > 0


@pytest.mark.parametrize("body", ["not an object", {"model": "m"}, chat(stream=True)])
def test_what_it_cannot_serve_gets_400(plain, body):
    assert post(plain, body)[0] == 400


def test_it_stops_with_the_block_even_while_requests_hang():
    with endpoint(faults=1.0, fault_kinds="hang") as server:
        with pytest.raises(TimeoutError):
            post(server, chat(), timeout=0.1)
        process = server.process
    assert process.returncode == 0
