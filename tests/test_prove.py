"""Data that Triptych makes with the embedded model trains that model in TRL's own trainers: `make prove`.

One run of 24 prompts is made, and instantiated anew for each trainer. Each trains a LoRA of the model's weights for a few
steps, and prints how long a step took and the most memory that was held.
"""

from __future__ import annotations

import copy
import importlib
import json
import math
import os
import re
import time
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries below are imported
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # or threads that wait keep the cores busy

import pytest
import yaml

import triptych as tp
from triptych.audit.data import Data
from triptych.audit.signal import ches, score_responses
from triptych.audit.signal.dpo import ImplicitAccuracy, with_dpo
from triptych.audit.signal.groups import ZeroAdvantageGroups
from triptych.errors import MissingExtra
from triptych.export.trainer import settings_file, trainer_of
from triptych.models.embedded import find_weights
from triptych.recipes.load import shipped_recipes

pytestmark = pytest.mark.prove
for module in ("torch", "transformers", "peft", "gguf", "xllamacpp", "datasets", "trl"):
    pytest.importorskip(module, reason="make prove installs it")

import datasets
import polars as pl
import torch
import transformers
import trl
from peft import LoraConfig
from torch.nn.functional import logsigmoid

try:
    WEIGHTS = find_weights()
except MissingExtra as missing:
    pytest.skip(str(missing), allow_module_level=True)

DRAWN = 4
FEW = 8
"""Rows that a trainer is given: few, so that steps that see them again show that they were learnt."""
KNOWN = json.loads((Path(__file__).parent / "data/trl_settings.json").read_text())
WITH_SETTINGS = [name for name in shipped_recipes() if (method := tp.load_recipe(name).method) and method.trl]


def recipe(**instantiation):
    return tp.Recipe.model_validate(
        {
            "name": "proof",
            "seed": 7,
            "models": {"policy": {"backend": "embedded"}},
            "prompts": {"kind": "examples", "name": "everyday"},
            "synthesis": {"kind": "sample", "model": "policy", "n": DRAWN, "temperature": [0.6, 1.0], "max_tokens": 56},
            "evaluation": {"kind": "verify"},
            "instantiation": instantiation,
        }
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return tp.run(recipe(kind="pairs", min_margin=0.3), out=tmp_path_factory.mktemp("proof") / "run", limit=24)


@pytest.fixture
def rows(run, tmp_path):
    """Makes an export of the run by another instantiation, and loads it as a trainer would."""

    def load(**instantiation):
        made = tp.instantiate(run, recipe(**instantiation), tmp_path / "made")
        tp.export_run(made, out=tmp_path / "export")
        return datasets.load_dataset(str(tmp_path / "export"), split="train", cache_dir=str(tmp_path / "cache"))

    return load


@pytest.fixture(scope="session")
def smollm(tmp_path_factory):
    """The embedded model's weights as a folder of `transformers`, not quantised."""
    folder = tmp_path_factory.mktemp("smollm")
    read = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS.parent, gguf_file=WEIGHTS.name, dtype="float32")
    # What was read of a quantised file can't be saved, though it is quantised no more: so a new model takes its weights.
    config = copy.deepcopy(read.config)
    del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(WEIGHTS.parent, gguf_file=WEIGHTS.name).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny(smollm, tmp_path_factory):
    """A random model with the same tokenizer, where it does not matter what is said."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **size)
    folder = tmp_path_factory.mktemp("tiny")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def settings(config, folder, **more):
    on_cpus = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "model_init_kwargs": {"dtype": "float32"}}
    shown = {"logging_steps": 1, "report_to": [], "save_strategy": "no", "disable_tqdm": True, "seed": 7}
    return config(output_dir=str(folder / "trained"), lr_scheduler_type="constant", **(on_cpus | shown | more))


def lora(**more):
    return LoraConfig(r=8, target_modules="all-linear", **more)


def trained(trainer, capsys):
    """Train; returns what was logged of each step."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the greatest size is counted from here on
    start = time.perf_counter()
    trainer.train()
    steps = [logged for logged in trainer.state.log_history if "loss" in logged]
    assert len(steps) == trainer.state.max_steps
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    most = f", {int(peak[1]) / 1e6:.1f} GB at most" if peak else ""
    with capsys.disabled():
        print(f"\n{type(trainer).__name__}: {len(steps)} steps of {(time.perf_counter() - start) / len(steps):.1f} s{most}")
        for name in ("loss", "rewards/margins", "margin", "reward"):
            if name in steps[0] or name in steps[-1]:
                print(f"  {name}: {' '.join(format(step[name], '.3f') for step in steps if name in step)}")
    return steps


def mean(steps, name):
    told = [step[name] for step in steps if name in step]
    return sum(told) / len(told)


def test_pairs_train_in_dpo(rows, smollm, tmp_path, capsys):
    pairs = rows(kind="pairs", choose="best_vs_worst", min_margin=0.3).select(range(FEW))
    args = settings(trl.DPOConfig, tmp_path, max_steps=12, per_device_train_batch_size=2, learning_rate=5e-4)
    trainer = trl.DPOTrainer(smollm, args=args, train_dataset=pairs, peft_config=lora())
    steps = trained(trainer, capsys)
    # At first policy and reference are the same, so the loss is log 2 and no answer is preferred.
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-3)
    assert mean(steps[-4:], "loss") < 0.6
    assert mean(steps[-4:], "rewards/margins") > 0.2


def test_binary_rows_train_in_kto(rows, smollm, tmp_path, capsys):
    marked = rows(kind="unpaired")
    some = [[place for place, label in enumerate(marked["label"]) if label is wanted][: FEW // 2] for wanted in (True, False)]
    marked = marked.select([place for two in zip(*some, strict=True) for place in two])  # good and bad ones in each batch: the trainer keeps the order
    args = settings(trl.KTOConfig, tmp_path, max_steps=10, per_device_train_batch_size=4, learning_rate=1e-3)
    trainer = trl.KTOTrainer(smollm, args=args, train_dataset=marked, peft_config=lora())
    steps = trained(trainer, capsys)
    assert steps[0]["loss"] == pytest.approx(0.5, abs=1e-2)  # a value of sigmoid(0) for good and bad ones alike
    assert mean(steps[-4:], "loss") < 0.48
    assert mean(steps[-4:], "rewards/margins") > 0.2


def test_rows_to_imitate_train_in_sft(rows, smollm, tmp_path, capsys):
    best = rows(kind="sft", min_score=0.5).select(range(FEW))
    args = settings(trl.SFTConfig, tmp_path, max_steps=12, per_device_train_batch_size=2, learning_rate=5e-4)
    trainer = trl.SFTTrainer(smollm, args=args, train_dataset=best, peft_config=lora())
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = {trainer.processing_class.decode(row[row != -100], skip_special_tokens=True).strip() for row in batch["labels"]}
    assert learnt <= {said[0]["content"].strip() for said in best["completion"]}  # the loss is on the completion alone
    steps = trained(trainer, capsys)
    assert mean(steps[-4:], "loss") < 0.9 * mean(steps[:4], "loss")  # of the same rows, in the first and the last round


def test_pairs_train_a_reward_model_that_heeds_their_margins(rows, smollm, tmp_path, capsys):
    pairs = rows(kind="pairs", choose="best_vs_worst", min_margin=0.3).select(range(FEW))
    args = settings(trl.RewardConfig, tmp_path, max_steps=12, per_device_train_batch_size=2, learning_rate=5e-4)
    trainer = trl.RewardTrainer(smollm, args=args, train_dataset=pairs, peft_config=lora(task_type="SEQ_CLS"))
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["margin"].tolist() == pytest.approx([row for row in batch["margin"].tolist() if row >= 0.3])
    with torch.no_grad():
        trainer.model.eval()
        tokens = {name: batch[name] for name in ("input_ids", "attention_mask")}
        better, worse = trainer.model(**tokens).logits.squeeze(-1).chunk(2)
        loss = trainer.compute_loss(trainer.model, dict(batch))
    assert loss.item() == pytest.approx(-logsigmoid(better - worse - batch["margin"]).mean().item(), abs=1e-4)
    steps = trained(trainer, capsys)
    assert mean(steps[-4:], "loss") < mean(steps[:4], "loss") - 0.1  # of the same rows, in the first and the last round
    assert mean(steps[-4:], "margin") > mean(steps[:4], "margin") + 0.2


def test_groups_train_in_grpo_with_the_verifier_as_reward(rows, smollm, tmp_path, capsys):
    groups = {"kind": "groups"}
    prompts = rows(**groups)
    args = settings(
        trl.GRPOConfig, tmp_path, max_steps=12, per_device_train_batch_size=8, learning_rate=5e-4, loss_type="grpo",
        num_generations=4, num_iterations=4, max_completion_length=56, beta=0.0,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        smollm, tp.reward_function(recipe(**groups)), args=args, train_dataset=prompts, peft_config=lora()
    )
    steps = trained(trainer, capsys)
    rewards = [step["reward"] for step in steps if "reward" in step]
    assert len(rewards) == 3
    assert all(0 <= reward <= 1 for reward in rewards)
    assert len(set(rewards)) > 1
    # Four steps learn from the same responses. Advantages add up to 0 before the first, and the policy moves towards
    # those that the verifier found better than the others of their group.
    first, last = ([step["loss"] for step in steps[place::4]] for place in (0, 3))
    assert first == pytest.approx([0, 0, 0], abs=1e-3)
    assert sum(last) < -0.03


@pytest.mark.parametrize(
    ("advantage", "trainer", "how"),
    [
        ("mean_std", "GRPO", {"scale_rewards": "group"}),
        ("mean", "GRPO", {"scale_rewards": "none"}),
        ("leave_one_out", "RLOO", {}),
    ],
)
def test_advantages_are_those_that_trl_computes_of_the_same_rewards(run, rows, tiny, tmp_path, advantage, trainer, how):
    prompts = rows(kind="groups", advantage=advantage, zero_variance="keep")
    made = tp.open_run(tmp_path / "made").examples().collect()
    assert made["scores"].list.len().unique().to_list() == [DRAWN]
    config, trainer = getattr(trl, f"{trainer}Config"), getattr(trl, f"{trainer}Trainer")

    def given(completions, scores, **others):
        """The run's scores, whatever was said; a group's completions stand side by side."""
        return [of_group[place % DRAWN] for place, of_group in enumerate(scores)]

    args = settings(
        config, tmp_path, max_steps=1, per_device_train_batch_size=DRAWN * len(prompts), num_generations=DRAWN,
        max_completion_length=2, beta=0.0, **how,
    )  # fmt: skip
    trained = trainer(tiny, given, args=args, train_dataset=prompts)
    trained.train()
    found = dict[str, list[float]]()
    for prompt, value in zip(trained._logs["prompt"], trained._logs["advantages"], strict=True):
        found.setdefault(json.dumps(prompt), []).append(value)
    assert len(found) == len(prompts)
    ours = dict(made.select("id", "labels").iter_rows())
    for row in prompts:
        wanted = ours[row["example_id"]]
        if advantage == "mean_std":  # TRL adds 0.0001 to the standard deviation
            spread = torch.tensor(row["scores"], dtype=torch.float64).std().item()
            wanted = [value * spread / (spread + 1e-4) for value in wanted]
        assert found[json.dumps(row["prompt"])] == pytest.approx(wanted, abs=1e-5)
    assert any(any(labels) for labels in ours.values())
    (none,) = ZeroAdvantageGroups().measure(Data.of(tp.open_run(tmp_path / "made")))
    (logged,) = (step["frac_reward_zero_std"] for step in trained.state.log_history if "frac_reward_zero_std" in step)
    assert none.value == pytest.approx(logged, abs=1e-6)
    assert 0 < none.value < 1


def likelihoods(model, before, spoken):
    """The log-probability of each spoken token, and the hidden states that they are predicted from."""
    with torch.no_grad():
        said = model(torch.tensor([before + spoken]), output_hidden_states=True)
    told = torch.log_softmax(said.logits[0, len(before) - 1 : -1].double(), -1)
    return told.gather(1, torch.tensor(spoken)[:, None])[:, 0], said.hidden_states[-1][0, len(before) - 1 : -1].double()


def test_the_signal_of_pairs_is_what_trl_reports_of_the_same_batch(run, rows, smollm, tmp_path, capsys):
    pairs = rows(kind="pairs", choose="best_vs_worst", min_margin=0.3).select(range(FEW))
    policy, reference = (transformers.AutoModelForCausalLM.from_pretrained(smollm, dtype="float32").eval() for _ in range(2))
    torch.manual_seed(3)
    for weight in reference.parameters():  # another model, but not by far
        weight.data += 0.05 * weight.data.std() * torch.randn_like(weight)
    args = settings(trl.DPOConfig, tmp_path, max_steps=1, per_device_train_batch_size=FEW, learning_rate=1e-6, beta=0.3)
    trainer = trl.DPOTrainer(policy, ref_model=reference, args=args, train_dataset=pairs)
    # Of the very tokens that the trainer sees, to which the end of the turn belongs.
    made = tp.open_run(tmp_path / "made")
    ids = dict(made.examples().select("id", "response_ids").collect().iter_rows())
    told = [
        (one, *(likelihoods(model, row["prompt_ids"], row[f"{side}_ids"])[0].sum().item() for model in (policy, reference)))
        for row, example in zip(trainer.train_dataset, pairs["example_id"], strict=True)
        for side, one in zip(("chosen", "rejected"), ids[example], strict=True)
    ]
    logprobs = pl.DataFrame(told, ["response_id", "logprob", "reference_logprob"], orient="row").with_columns(tokens=9)
    tables = {name: made.table(name) for name in ("prompts", "responses", "judgements", "examples")}
    tables["examples"] = tables["examples"].filter(pl.col("id").is_in(pairs["example_id"][:]))
    data = Data(tables, logprobs=logprobs, recipe=tp.load_recipe("dpo", ["method.trl.beta=0.3"]))
    signal = with_dpo(data)
    assert signal.height == FEW
    trainer.train()
    logged = trainer.state.log_history[0]
    ours = {
        "loss": signal["loss"],
        "rewards/chosen": signal["chosen_reward"],
        "rewards/rejected": signal["rejected_reward"],
        "rewards/margins": signal["implicit"],
        "logps/chosen": signal["chosen_logprob"],
        "logps/rejected": signal["rejected_logprob"],
    }
    for name, values in ours.items():
        assert logged[name] == pytest.approx(values.mean(), rel=1e-4, abs=1e-4), name
    (accuracy,) = ImplicitAccuracy().measure(data)
    assert logged["rewards/accuracies"] == pytest.approx(accuracy.value)
    # The gradient's weight is how much the loss falls as the implicit margin grows.
    margins = torch.tensor(signal["implicit"].to_list(), dtype=torch.float64, requires_grad=True)
    (-logsigmoid(margins)).sum().backward()
    assert (-margins.grad).tolist() == pytest.approx(signal["gradient"].to_list(), abs=1e-9)
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {logged[name]:.4f} ({values.mean():.4f})" for name, values in ours.items()))


def test_llama_cpp_says_nearly_what_transformers_does_of_how_likely_a_response_is(run, smollm, tmp_path, capsys):
    scores = score_responses(run, "policy", most_prompts=8, calls=tmp_path / "calls.sqlite")
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm)
    model = transformers.AutoModelForCausalLM.from_pretrained(smollm, dtype="float32").eval()
    asks = dict(run.prompts().select("id", "messages").collect().iter_rows())
    said = {one: (prompt, text) for one, prompt, text in run.responses().select(
        "id", "prompt_id", pl.col("messages").list.first().struct.field("content")).collect().iter_rows()}
    apart, otherwise, tokens = [], 0, 0
    for response_id, logprob, count, _ in scores.iter_rows():
        prompt, text = said[response_id]
        chat = [{"role": message["role"], "content": message["content"]} for message in asks[prompt]]
        before = tokenizer(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))["input_ids"]
        spoken = tokenizer(text)["input_ids"]
        if len(spoken) != count:  # the two cut some texts into different tokens: these are other numbers
            otherwise += 1
            continue
        apart.append((likelihoods(model, before, spoken)[0].sum().item() - logprob) / count)
        tokens += count
    off = sum(map(abs, apart)) / len(apart)
    with capsys.disabled():
        print(f"\nllama.cpp is off by {off:.4f} nats a token in the mean of {len(apart)} responses ({tokens} tokens), "
              f"{max(map(abs, apart)):.4f} at most; {sum(apart) / len(apart):+.4f} with its sign; {otherwise} are cut into other tokens")
    assert len(apart) > otherwise
    assert off < 0.05


def test_ches_is_the_sum_over_all_pairs_of_hidden_states(run, tiny, tmp_path):
    found = ches(run, tiny, most_pairs=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny, dtype="float32").eval()
    asks = dict(run.prompts().select("id", "messages").collect().iter_rows())
    said = dict(run.responses().select("id", pl.col("messages").list.first().struct.field("content")).collect().iter_rows())
    assert found.height == 3
    for row in run.examples().filter(pl.col("id").is_in(found["id"].implode())).collect().iter_rows(named=True):
        chat = [{"role": message["role"], "content": message["content"]} for message in asks[row["prompt_id"]]]
        before = tokenizer(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))["input_ids"]
        a, b = (likelihoods(model, before, tokenizer(said[one])["input_ids"])[1].tolist() for one in row["response_ids"])
        across, within = (sum(p * q for x in a for y in other for p, q in zip(x, y, strict=True)) for other in (b, a))
        score, by_length = across - within, across / len(a) / len(b) - within / len(a) ** 2
        (ours,) = found.filter(pl.col("id") == row["id"]).iter_rows()
        assert ours[1:] == (pytest.approx(score, rel=1e-6), pytest.approx(by_length, rel=1e-6))


def config_of(trainer, module):
    return getattr(importlib.import_module(module), trainer.removesuffix("Trainer") + "Config")


def test_the_settings_that_the_other_tests_know_are_those_of_the_installed_trl():
    assert KNOWN["trl"] == trl.__version__
    of_any = set(transformers.TrainingArguments.__dataclass_fields__)
    for trainer, known in KNOWN["settings"].items():
        config = config_of(trainer, known["module"])
        assert hasattr(importlib.import_module(known["module"]), trainer)
        own = set(config.__annotations__) | set(config.__dataclass_fields__) - of_any
        assert sorted(own) == known["fields"], trainer
    for trainer, losses in KNOWN["losses"].items():
        said = config_of(trainer, KNOWN["settings"][trainer]["module"]).__dataclass_fields__["loss_type"].metadata
        named = said.get("choices") or re.findall(r"'(\w+)'", said["help"].split(". ")[1])
        assert sorted(named) == sorted(losses), trainer


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_the_installed_trl_takes_the_settings_of_a_shipped_recipe(name, tmp_path):
    given = tp.load_recipe(name).method.trl
    trainer, module, _ = trainer_of(given)
    assert hasattr(importlib.import_module(module), trainer)
    (tmp_path / "trl.yaml").write_text(settings_file(given, tmp_path))
    written = yaml.safe_load((tmp_path / "trl.yaml").read_text()) or {}
    written.pop("dataset_name", None)
    made = config_of(trainer, module)(output_dir=str(tmp_path), use_cpu=True, bf16=False, **written)
    for field, value in written.items():
        kept = getattr(made, field)
        assert (kept if isinstance(value, list) or not isinstance(kept, list) else kept[0]) == value


@pytest.mark.parametrize(("name", "command"), [("cdpo", "dpo"), ("kto", "kto"), ("hh-rlhf", "reward"), ("raft", "sft")])
def test_the_command_line_of_trl_takes_the_file_that_an_export_writes(name, command, tmp_path):
    given = tp.load_recipe(name).method.trl
    (tmp_path / "trl.yaml").write_text(settings_file(given, tmp_path))
    parser = importlib.import_module(f"trl.scripts.{command}").make_parser()
    on_this_machine = ["--output_dir", str(tmp_path), "--use_cpu", "true", "--bf16", "false"]
    script, config, *_ = parser.parse_args_and_config(["--config", str(tmp_path / "trl.yaml"), *on_this_machine])
    assert script.dataset_name == str(tmp_path)
    assert type(config) is config_of(given["trainer"], "trl")
    assert all(getattr(config, field) in (value, [value]) for field, value in given.items() if field != "trainer")
