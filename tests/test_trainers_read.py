"""What the trainers' own loading code makes of the exports: each test needs the trainer's package, and says so without it."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace

import pytest
import yaml

from test_export_trl import make_run, of_kind, say, simple, stepwise_run
from triptych.export import export_run
from triptych.instantiation.pairs import Pairs
from triptych.records import Message

pytestmark = pytest.mark.slow

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT = (Message("user", "Hi."), Message("assistant", "Yes?"), Message("user", "Which way?"))


def trainer(module, *names):
    """Something of a trainer's package, or a reason to skip."""
    found = pytest.importorskip(module, reason=f"{module} can't be imported here", exc_type=ImportError)
    if missing := [name for name in names if not hasattr(found, name)]:
        pytest.skip(f"this version of {module} has no {', '.join(missing)}")
    return getattr(found, names[0]) if names else found


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer of single bytes with the template ChatML."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    special = ["<|im_start|>", "<|im_end|>", "<pad>"]
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate([*special, *alphabet])}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>", additional_special_tokens=["<|im_start|>"]
    )
    made.chat_template = CHATML
    return made


def rows(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def chat_run(tmp_path, **more):
    """Three prompts with a system message and one in the middle of a chat, with examples of every single kind."""
    kinds = [of_kind("unpaired", (1.0,)), of_kind("sft"), of_kind("group", (1.0, -1.0, 0.0))]
    chats = [*simple(3), (CHAT, [(say("Left, ü."), 5), (say("Right."), 1)])]
    return make_run(tmp_path / "run", chats, more_examples=kinds, reference="42", **more)


def spoken(messages, *, asks=False):
    """ChatML of messages, written down independently of any template."""
    said = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return said + ("<|im_start|>assistant\n" if asks else "")


# --- LLaMA-Factory


def llama_factory(tmp_path, kind):
    loader, parser = trainer("llamafactory.data.loader"), trainer("llamafactory.data.parser", "get_dataset_list")
    result = export_run(chat_run(tmp_path), "llama-factory", tmp_path / "out", kinds=[kind])
    data = SimpleNamespace(
        dataset_dir=str(result.path), streaming=False, max_samples=None, preprocessing_num_workers=None,
        overwrite_cache=True, cutoff_len=2048, media_dir=None, mask_history=True, train_on_prompt=False,
    )  # fmt: skip
    models = SimpleNamespace(cache_dir=str(tmp_path / "cache"), hf_hub_token=None)
    (attributes,) = parser([f"triptych_{kind}"], str(result.path))
    training = SimpleNamespace(local_process_index=0)
    return result, loader._load_single_dataset(attributes, models, data, training), data


def encoded(processor, dataset, data, tokenizer):
    template = trainer("llamafactory.data.template", "TEMPLATES")["chatml"]
    made = trainer("llamafactory.data.processor", processor)(template, tokenizer, None, data)
    return made.preprocess_dataset({name: list(dataset[name]) for name in dataset.column_names})


def test_llama_factory_reads_every_pair_with_its_texts(tmp_path, tokenizer):
    result, dataset, data = llama_factory(tmp_path, "pair")
    assert result.rows == dataset.num_rows == 4
    for row, read in zip(rows(result.path), dataset, strict=True):
        system = [m["content"] for m in row["messages"] if m["role"] == "system"]
        assert read["_system"] == "".join(system)
        assert read["_prompt"] == [m for m in row["messages"] if m["role"] != "system"]
        assert read["_response"] == [row["chosen"], row["rejected"]]
    made = encoded("PairwiseDatasetProcessor", dataset, data, tokenizer)
    assert len(made["chosen_input_ids"]) == 4
    assert tokenizer.decode(made["chosen_input_ids"][3]).rstrip() == spoken(
        [*rows(result.path)[3]["messages"], {"role": "assistant", "content": "Left, ü."}]
    ).rstrip()


def test_llama_factory_reads_thumbs_and_rows_to_imitate(tmp_path, tokenizer):
    for kind, processor in (("unpaired", "FeedbackDatasetProcessor"), ("sft", "SupervisedDatasetProcessor")):
        (tmp_path / kind).mkdir()
        result, dataset, data = llama_factory(tmp_path / kind, kind)
        made = encoded(processor, dataset, data, tokenizer)
        assert result.rows == len(made["input_ids"]) == 1
        learnt = [token for token in made["labels"][0] if token != -100]
        assert tokenizer.decode(learnt).rstrip() == "Well, ü 0<|im_end|>"
    assert "kto_tags" not in made


# --- OpenRLHF


def flags(result, kind):
    """The flags that the card names for a kind, as OpenRLHF's parsers take them apart."""
    text = (result.path / "README.md").read_text(encoding="utf-8")
    module = {"pair": "train_dpo", "sft": "train_sft", "group": "train_ppo_ray", "unpaired": "train_kto", "stepwise": "train_prm"}
    block = text.split(f"openrlhf.cli.{module[kind]}", 1)[1].split("```")[0].split("#")[0]
    words, said = shlex.split(block.replace("\\\n", " ")), SimpleNamespace(data=SimpleNamespace(), eval=SimpleNamespace())
    for place, word in enumerate(words):
        if word.startswith("--"):
            values = [each for each in words[place + 1 : place + 2] if not each.startswith("--")]
            where, _, name = word[2:].rpartition(".")
            setattr(getattr(said, where) if where else said, name, values[0] if values else True)
    return said


def strategy(said):
    return SimpleNamespace(args=said, print=lambda *words: None, is_rank_0=lambda: False)


def openrlhf(tmp_path, kind, name, *, run=None):
    kind_of_dataset = trainer("openrlhf.datasets", name)
    result = export_run(run or chat_run(tmp_path), "openrlhf", tmp_path / "out", kinds=[kind])
    said = flags(result, kind)
    blended = trainer("openrlhf.datasets.utils", "blending_datasets")
    said.use_ms = False
    file = str(result.path / "train.jsonl")
    data = blended(file, None, strategy(said), 42)
    return kind_of_dataset, data, strategy(said), result


def test_openrlhf_reads_every_pair_with_its_texts(tmp_path, tokenizer):
    made, data, how, result = openrlhf(tmp_path, "pair", "RewardDataset")
    read = made(data, tokenizer, 2048, how, is_dpo=True, num_processors=1)
    assert len(read) == result.rows == 4
    for place, row in enumerate(rows(result.path)):
        assert read.prompts[place] == spoken(row["prompt"], asks=True)
        assert read.chosens[place] == row["chosen"][0]["content"] + "<|im_end|>\n"
        assert read.rejects[place] == row["rejected"][0]["content"] + "<|im_end|>\n"
    margins = made(data, tokenizer, 2048, how, is_dpo=False, num_processors=1).extras
    assert list(margins) == [row["margin"] for row in rows(result.path)]
    assert len(read[0]) == 5


def test_openrlhf_reads_rows_to_imitate_and_prompts_with_answers(tmp_path, tokenizer):
    made, data, how, result = openrlhf(tmp_path, "sft", "SFTDataset")
    read = made(data, tokenizer, 2048, how, num_processors=1)
    assert (list(read.prompts), list(read.responses)) == (
        [spoken(rows(result.path)[0]["prompt"], asks=True)],
        ["Well, ü 0<|im_end|>\n"],
    )
    (tmp_path / "prompts").mkdir()
    made, data, how, result = openrlhf(tmp_path / "prompts", "group", "PromptDataset")
    read = made(data, tokenizer, how)
    assert read[0][1:3] == (spoken(rows(result.path)[0]["prompt"], asks=True), "42")


def test_openrlhf_before_0_10_reads_thumbs(tmp_path, tokenizer):
    made, data, how, _ = openrlhf(tmp_path, "unpaired", "UnpairedPreferenceDataset")
    read = made(data, tokenizer, 2048, how, num_processors=1)
    assert [read[0][1], read[0][2]] == ["Well, ü 0<|im_end|>\n", 1]


def test_openrlhf_before_0_10_reads_a_label_at_each_step(tmp_path, tokenizer):
    run = stepwise_run(tmp_path, (1.0, 0.0, 1.0))
    made, data, how, _ = openrlhf(tmp_path, "stepwise", "ProcessRewardDataset", run=run)
    tokenizer.add_tokens("ки")
    how.args.reward_tokens = ["+", "-"]
    ids, _, labels = made(data, tokenizer, 2048, how)[0]
    at = ids[0] == tokenizer.convert_tokens_to_ids("ки")
    assert tokenizer.convert_ids_to_tokens(labels[0][at]) == ["+", "-", "+"]
    assert (labels[0] != -100).sum() == 3


# --- Axolotl


def axolotl(tmp_path, kind, to="axolotl", run=None):
    result = export_run(run or chat_run(tmp_path), to, tmp_path / "out", kinds=[kind])
    config = trainer("axolotl.utils.dict", "DictDefault")(
        yaml.safe_load((result.path / f"axolotl-{kind}.yaml").read_text(encoding="utf-8"))
    )
    required = {"micro_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 1e-5}
    trainer("axolotl.utils.schemas.config", "AxolotlInputConfig")(**config.to_dict(), **required)  # raises what is wrong
    config.sequence_len, config.train_on_inputs = 2048, False
    return config, result


def test_axolotl_reads_every_pair_with_its_texts(tmp_path, tokenizer):
    config, result = axolotl(tmp_path, "pair")
    load = trainer("axolotl.prompt_strategies.dpo", "load")
    transform, _ = load(config.datasets[0].type, config, dataset_idx=0)
    for row in rows(result.path):
        read = transform(row, tokenizer=tokenizer)
        assert read["prompt"] == spoken(row["messages"], asks=True)
        assert read["chosen"] == row["chosen"]["content"] + "<|im_end|>"
        assert read["rejected"] == row["rejected"]["content"] + "<|im_end|>"


def test_axolotl_reads_pairs_for_orpo(tmp_path, tokenizer):
    config, result = axolotl(tmp_path, "pair", "axolotl-orpo")
    transform = trainer("axolotl.prompt_strategies.orpo", "load")(config.datasets[0].type, config, dataset_idx=0)
    whole = rows(export_run(chat_run(tmp_path), "trl", tmp_path / "trl", kinds=["pair"]).path)
    for row, pair in zip(rows(result.path), whole, strict=True):
        read = transform(row, tokenizer=tokenizer)
        assert read["prompt"] == spoken(pair["prompt"], asks=True)
        assert read["chosen"] == pair["chosen"][0]["content"] + "<|im_end|>\n"
        assert read["rejected"] == pair["rejected"][0]["content"] + "<|im_end|>\n"


def test_axolotl_reads_thumbs(tmp_path):
    chats = [((Message("user", "Why?"),), [(say("So."), 5), (say("No."), 1)])]
    run = make_run(tmp_path / "run", chats, more_examples=[of_kind("unpaired", (0.0,))])
    config, result = axolotl(tmp_path, "unpaired", run=run)
    transform = trainer("axolotl.prompt_strategies.kto", "load")("user_defined.default", config, dataset_idx=0)
    read = transform(dict(rows(result.path)[0]))
    assert read["prompt"] == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert (read["completion"], read["label"]) == ("So.<|im_end|>", False)


def test_axolotl_learns_the_answer_alone_of_rows_to_imitate(tmp_path, tokenizer):
    with_history = [(CHAT, [(say("Left."), 5), (say("Right."), 1)])]
    run = make_run(tmp_path / "run", with_history, Pairs(max_margin=0.1), more_examples=[of_kind("sft")])
    config, result = axolotl(tmp_path, "sft", run=run)
    load = trainer("axolotl.prompt_strategies.chat_template", "load")
    read = load(tokenizer, config, config.datasets[0]).tokenize_prompt(rows(result.path)[0])
    assert tokenizer.decode([token for token in read["labels"] if token != -100]).rstrip() == "Left.<|im_end|>"
    assert "Yes?" in tokenizer.decode(read["input_ids"])


def test_axolotl_reads_steps(tmp_path, tokenizer):
    _, result = axolotl(tmp_path, "stepwise", run=stepwise_run(tmp_path, (1.0, 1.0, 0.0)))
    made = trainer("axolotl.prompt_strategies.stepwise_supervised", "StepwiseSupervisedPromptTokenizingStrategy")
    read = made(tokenizer, step_separator="\n").tokenize_prompt(rows(result.path)[0])
    assert [label for label in read["labels"] if label != -100] == [1, 1, 0]


# --- verl


def test_verl_reads_prompts_with_their_answers(tmp_path, tokenizer):
    made, config = trainer("verl.utils.dataset.rl_dataset", "RLHFDataset"), trainer("omegaconf", "OmegaConf")
    result = export_run(chat_run(tmp_path), "verl", tmp_path / "out", kinds=["group"])
    settings = config.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts_workers": 1})
    read = made(str(result.path / "train.parquet"), tokenizer, settings)
    assert len(read) == result.rows == 1
    row = read[0]
    assert row["raw_prompt"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why 0?"}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "42"}
    assert (row["data_source"], row["ability"]) == ("triptych", "general")


def test_verl_reads_rows_to_imitate(tmp_path, tokenizer):
    made, config = trainer("verl.utils.dataset.multiturn_sft_dataset", "MultiTurnSFTDataset"), trainer("omegaconf", "OmegaConf")
    result = export_run(chat_run(tmp_path), "verl", tmp_path / "out", kinds=["sft"])
    read = made([str(result.path / "train.parquet")], tokenizer, config.create({"pad_mode": "no_padding"}))
    row = read[0]
    learnt = row["input_ids"][row["loss_mask"] == 1]
    assert tokenizer.decode(learnt).rstrip() == "Well, ü 0<|im_end|>"
    assert "Be kind." in tokenizer.decode(row["input_ids"])
