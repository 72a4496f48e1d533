"""A sequence classifier in this process gives what transformers gives."""

import asyncio

import pytest

import triptych as tp
from asking import ask_of
from triptych.errors import MissingExtra
from triptych.models.calls import Counts
from triptych.models.chat import CallFailed, ScoreRequest
from triptych.records import Message

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="needs triptych[classifier]: torch")
transformers = pytest.importorskip("transformers", reason="needs triptych[classifier]: transformers")
CHAT = "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} {% endfor %}"
TEXTS = ["alpha", "beta gamma", "gamma gamma delta alpha beta", "delta", "alpha beta", "beta"] * 3


def request(text):
    return ScoreRequest(messages=(Message("user", "alpha beta ?"),), response=(Message("assistant", text),))


def tokenizer(**more):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "alpha", "beta", "gamma", "delta", "?", "<|user|>", "<|assistant|>"]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", **more)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A cross-encoder that takes pairs of texts, and a decoder with a chat template; both tiny and random."""
    torch.manual_seed(7)
    pairs, chats = (tmp_path_factory.mktemp(name) for name in ("pairs", "chats"))
    size = {
        "vocab_size": 11,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    bert = transformers.BertConfig(**size, num_labels=2, pad_token_id=0)
    llama = transformers.LlamaConfig(**size, num_labels=1, pad_token_id=0, num_key_value_heads=2)
    transformers.BertForSequenceClassification(bert).save_pretrained(pairs)
    transformers.LlamaForSequenceClassification(llama).save_pretrained(chats)
    tokenizer().save_pretrained(pairs)
    tokenizer(chat_template=CHAT, padding_side="right").save_pretrained(chats)
    return {"pairs": pairs, "chats": chats}


def direct(folder, *texts, **how):
    """One text, or one pair, at a time by transformers itself."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = transformers.AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="pt", **how)
    with torch.no_grad():
        return model(**encoded).logits[0].tolist()


def scored(tmp_path, folder, texts=TEXTS, counts=None, **spec):
    model = tp.ClassifierModel(path=str(folder), device="cpu", **spec)
    return asyncio.run(ask_of(tmp_path, model, [request(text) for text in texts], counts))


@pytest.mark.parametrize("batch", [1, 4])
def test_pairs_of_texts_in_batches_score_as_each_alone_does(tmp_path, folders, batch):
    replies = scored(tmp_path, folders["pairs"], batch=batch)
    for text, reply in zip(TEXTS, replies, strict=True):
        assert reply.scores == pytest.approx(direct(folders["pairs"], "alpha beta ?", text), abs=1e-5)
    assert replies[0].prompt_tokens == 7


def test_conversations_in_the_chat_template_score_as_each_alone_does(tmp_path, folders):
    replies = scored(tmp_path, folders["chats"], batch=4)
    for text, reply in zip(TEXTS, replies, strict=True):
        said = f"<|user|> alpha beta ? <|assistant|> {text} "
        assert reply.scores == pytest.approx(direct(folders["chats"], said, add_special_tokens=False), abs=1e-5)
    assert len({reply.scores for reply in replies}) > 3


def test_a_declared_template_makes_one_text(tmp_path, folders):
    (reply,) = scored(tmp_path, folders["pairs"], ["beta gamma"], template="delta {{ prompt }} gamma {{ response }}")
    assert reply.scores == pytest.approx(direct(folders["pairs"], "delta alpha beta ? gamma beta gamma"), abs=1e-5)


def test_scores_are_kept_in_the_call_log(tmp_path, folders):
    first, second = Counts(), Counts()
    said = scored(tmp_path, folders["pairs"], counts=first)
    assert scored(tmp_path, folders["pairs"], counts=second) == said
    assert (first.sent, second.sent) == (6, 0)


def test_a_conversation_that_is_too_long_is_refused_and_not_cut(tmp_path, folders):
    long, short = scored(tmp_path, folders["pairs"], ["alpha " * 40, "beta"], max_tokens=20)
    assert isinstance(long, CallFailed)
    assert "max_tokens" in long.error
    assert short.scores is not None


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(MissingExtra, match=r"no config\.json"):
        scored(tmp_path, tmp_path / "nothing")


def against(one, other):
    return ScoreRequest(
        messages=(Message("user", "alpha beta ?"),),
        response=(Message("assistant", one),),
        other=(Message("assistant", other),),
    )


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        (["{{ prompt }} {{ response_a }}", "{{ response_b }}"], lambda a, b: (f"alpha beta ? {a}", b)),
        ("{{ prompt }} delta {{ response_a }} delta {{ response_b }}", lambda a, b: (f"alpha beta ? delta {a} delta {b}",)),
    ],
)
def test_two_responses_are_compared_in_the_texts_of_the_templates(tmp_path, folders, pair, shown):
    asked = [against(one, other) for one in TEXTS[:3] for other in TEXTS[:3]]
    model = tp.ClassifierModel(path=str(folders["pairs"]), device="cpu", pair=pair, batch=4)
    replies = asyncio.run(ask_of(tmp_path, model, asked))
    for request_, reply in zip(asked, replies, strict=True):
        texts = shown(request_.response[0].content, request_.other[0].content)
        assert reply.scores == pytest.approx(direct(folders["pairs"], *texts), abs=1e-5)
    assert replies[1].scores != replies[3].scores  # the same two, the other way round


def test_a_response_that_holds_a_mark_of_the_models_input_is_refused_when_two_are_compared(tmp_path, folders):
    pair = ["{{ prompt }} {{ response_a }}", "{{ response_b }}"]
    model = tp.ClassifierModel(path=str(folders["pairs"]), device="cpu", pair=pair)
    fine, bad = asyncio.run(ask_of(tmp_path, model, [against("beta", "gamma"), against("beta", "gamma [PAD] delta")]))
    assert fine.scores is not None
    assert isinstance(bad, CallFailed)
    assert "a text holds '[PAD]'" in bad.error


def test_a_folder_without_the_classifiers_own_weights_is_refused_and_not_filled_up_at_random(tmp_path, folders):
    bare = tmp_path / "bare"
    transformers.BertModel.from_pretrained(folders["pairs"]).save_pretrained(bare)
    transformers.AutoTokenizer.from_pretrained(folders["pairs"]).save_pretrained(bare)
    with pytest.raises(MissingExtra, match=r"has no weights for .*classifier\.weight"):
        scored(tmp_path, bare)
