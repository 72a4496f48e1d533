"""A sequence classifier in this process, by transformers: responses are scored in batches, in a thread of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from triptych.errors import MissingExtra
from triptych.models.chat import ScoreRequest
from triptych.models.rewards import as_openai, texts
from triptych.models.spec import ClassifierModel
from triptych.models.wire import CantTell, Said, Usage
from triptych.templates import transcript

_EXTRA = "pip install 'triptych[classifier]'"


def check_classifier(spec: ClassifierModel) -> None:
    """Raise `MissingExtra` where transformers or torch is not installed, or the folder holds no model."""
    for package in ("transformers", "torch"):
        if find_spec(package) is None:
            raise MissingExtra(f"a classifier in this process needs {package}: {_EXTRA}")
    if not (Path(spec.path).expanduser() / "config.json").is_file():
        raise MissingExtra(f"{spec.path} is no folder of a transformers model: it has no config.json")


class Classifier:
    """A loaded classifier. What is asked while a batch is worked on makes up the next one."""

    def __init__(self, spec: ClassifierModel) -> None:
        self.spec = spec
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="classifier")
        self._waiting: list[tuple[Any, asyncio.Future[tuple[float, ...]]]] = []
        self._working: asyncio.Task[None] | None = None
        self._tokenizer: Any = None
        self._model: Any = None
        self._device = "cpu"

    async def load(self) -> None:
        """Read tokenizer and weights. Raises `MissingExtra` where they can't be."""
        check_classifier(self.spec)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def score(self, request: ScoreRequest) -> Said:
        """Score one response, or two against each other. Raises `CantTell` where they are longer than `max_tokens`."""
        try:
            encoded = await asyncio.get_running_loop().run_in_executor(self._thread, self._encoded, request)
        except CantTell:
            raise
        except Exception as error:  # of a chat template that does not take the conversation
            raise CantTell(f"the tokenizer refuses the conversation: {error}") from error
        length = len(encoded["input_ids"])
        if length > self.spec.max_tokens:
            raise CantTell(f"the conversation has {length} tokens; max_tokens of the model is {self.spec.max_tokens}")
        scored: asyncio.Future[tuple[float, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append((encoded, scored))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return Said(Usage(length, 0), scores=await scored)

    def close(self) -> None:
        """Wait for the thread and let go of the weights."""
        self._thread.shutdown()
        self._model = None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self.spec.batch], self._waiting[self.spec.batch :]
            try:
                scores = await loop.run_in_executor(self._thread, self._logits, [encoded for encoded, _ in batch])
            except Exception as error:  # of torch: too little memory, weights that don't fit their configuration
                for _, scored in batch:
                    scored.set_exception(CantTell(f"the classifier failed: {type(error).__name__}: {error}"))
                continue
            for (_, scored), given in zip(batch, scores, strict=True):
                scored.set_result(given)

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        spec, folder = self.spec, str(Path(self.spec.path).expanduser())
        self._device = spec.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, found = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, dtype=getattr(torch, spec.dtype), output_loading_info=True
            )
            self._model = model.to(self._device).eval()
        except Exception as error:
            raise MissingExtra(f"transformers can't load {spec.path}: {error}") from error
        if lacking := sorted(found["missing_keys"]):  # they would be drawn at random, and the scores with them
            raise MissingExtra(f"{spec.path} is no whole sequence classifier: it has no weights for {', '.join(lacking)}")

    def _encoded(self, request: ScoreRequest) -> Any:
        """The conversation as the model's inputs."""
        shown = texts(self.spec, request)
        if request.other:
            self._refuse_marks(request)
        if shown:
            return self._tokenizer(*shown)
        if getattr(self._tokenizer, "chat_template", None):
            text = self._tokenizer.apply_chat_template(as_openai(request), tokenize=False)
            return self._tokenizer(text, add_special_tokens=False)  # the template has them
        return self._tokenizer(transcript(request.messages), transcript(request.response))

    def _refuse_marks(self, request: ScoreRequest) -> None:
        """Refuse texts that hold what sets the parts of the model's input apart: one response could pose as both."""
        said = [message.content for message in (*request.messages, *request.response, *request.other)]
        for token in self._tokenizer.added_tokens_decoder.values():
            mark = token.content
            is_mark = token.special or any(mark in text for text in self.spec.pair)
            if is_mark and mark.strip() and any(mark in text for text in said):
                raise CantTell(f"a text holds {mark!r}, which the model reads as a mark between texts")

    def _logits(self, batch: list[Any]) -> list[tuple[float, ...]]:
        """Score a batch; without padding that the model knows, one after another."""
        pads = (
            self._tokenizer.pad_token_id is not None and self._tokenizer.pad_token_id == self._model.config.pad_token_id
        )
        batches = [batch] if pads else [[one] for one in batch]
        return [scores for each in batches for scores in self._of_one_form(each)]

    def _of_one_form(self, batch: list[Any]) -> list[tuple[float, ...]]:
        import torch

        names = batch[0].keys()
        columns = {name: [one[name] for one in batch] for name in names}
        if len(batch) > 1:
            inputs = self._tokenizer.pad(columns, return_tensors="pt")
        else:
            inputs = {name: torch.tensor(column) for name, column in columns.items()}
        with torch.inference_mode():
            logits = self._model(**{name: tensor.to(self._device) for name, tensor in inputs.items()}).logits
        return [tuple(row.tolist()) for row in logits.float().cpu()]
