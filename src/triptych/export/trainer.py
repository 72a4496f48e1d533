"""The settings of TRL that a recipe's method names, written beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_COMMANDS = {"DPOTrainer": "dpo", "KTOTrainer": "kto", "RewardTrainer": "reward", "SFTTrainer": "sft"}
"""Trainers of rows that have a command of TRL's; the others have a module of their own."""
_KINDS = {"KTOTrainer": "unpaired", "SFTTrainer": "sft", "GRPOTrainer": "group", "RLOOTrainer": "group"}
"""The kind of examples that a trainer reads; the others read pairs."""
_MODULES = {"CPOTrainer": "trl.experimental.cpo", "ORPOTrainer": "trl.experimental.orpo"}


def trainer_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe's method says of TRL; empty where it names no method or no trainer."""
    method = recipe.get("method")
    settings = method.get("trl") if isinstance(method, dict) else None
    return settings if isinstance(settings, dict) else {}


def trainer_of(settings: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The trainer's class, the module that it is in, and what its configuration is given; DPO where none is named."""
    trainer = str(settings.get("trainer", "DPOTrainer"))
    return (
        trainer,
        _MODULES.get(trainer, "trl"),
        {name: value for name, value in settings.items() if name != "trainer"},
    )


def kind_read_by(trainer: str) -> str:
    """The kind of examples that a trainer of TRL's reads."""
    return _KINDS.get(trainer, "pair")


def settings_file(settings: Mapping[str, Any], folder: Path, kinds: Sequence[str] = ()) -> str:
    """The settings as YAML: a configuration of TRL's command line where it has a command for the trainer.

    Of several `kinds` of examples in the folder, it names the trainer's.
    """
    trainer, module, given = trainer_of(settings)
    command = _COMMANDS.get(trainer)
    if command is None:
        config = trainer.removesuffix("Trainer") + "Config"
        head = f"# For {module}.{trainer}: give these to its {config}; README.md shows how."
        return f"{head}\n{yaml.safe_dump(given, sort_keys=False)}"
    head = (
        "# With a model of yours, and dataset_name changed where the folder was moved:\n"
        f"#   trl {command} --config trl.yaml --model_name_or_path your-org/your-model --output_dir trained"
    )
    where: dict[str, Any] = {"dataset_name": str(folder.resolve())}
    if len(kinds) > 1:
        where["dataset_config"] = kind_read_by(trainer)
    return f"{head}\n{yaml.safe_dump(where | given, sort_keys=False)}"
