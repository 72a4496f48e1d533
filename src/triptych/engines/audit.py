"""What can be audited: a run's folder, or preference data in any format that can be imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from triptych.audit.audit import Audit, audit
from triptych.engines.asking import Asked, full_data
from triptych.engines.imports import imported_run
from triptych.errors import RunFolderError
from triptych.models.budget import Budget
from triptych.models.spec import ModelSpec
from triptych.store.run import MANIFEST, Run, open_run


def is_run(path: str | Path) -> bool:
    """Whether a path is the folder of a run, or of a loop's rounds."""
    path = Path(path)
    return (path / MANIFEST).exists() or any(path.glob("round-*/" + MANIFEST))


@contextmanager
def opened(source: Run | str | Path, as_: str | None = None, **options: Any) -> Iterator[Run]:
    """Open a run, its folder, or a file of preference data, which is imported into a folder that lasts as long as this.

    `as_` and `options` are those of `triptych.import_data`. Raises what `open_run` or `import_data` raise, and
    `RunFolderError` where such an option is given for a run.
    """
    if isinstance(source, Run):
        yield source
    elif is_run(source):
        if as_ is not None or any(value is not None for name, value in options.items() if name != "progress"):
            raise RunFolderError(f"{source} is a run folder: how to import a file does not apply to it")
        yield open_run(source)
    else:
        with imported_run(source, as_, **options) as run:
            yield run


def audit_run(
    source: Run | str | Path,
    as_: str | None = None,
    *,
    gold: Sequence[str] | None = None,
    policy: str | None = None,
    reference: str | None = None,
    embeddings: str | None = None,
    models: Mapping[str, ModelSpec] | None = None,
    calls: str | Path | None = None,
    budget: Budget | None = None,
    test_sets: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Audit:
    """Audit a run, its folder, or a file of preference data in a format that `triptych.import_data` reads.

    `gold` names the evaluators whose verdicts count as true; if not given, all that judge without a model: people and
    verifiers. `as_` and `options` are those of `import_data`. `progress` is told which diagnostic begins, its number from
    0, and how many there are.

    `policy`, `reference` and `embeddings` make a full audit of it, which calls models: each names one of the run's recipe, of
    `models`, or `embedded`. The calls are kept in the run's call log, or the one at `calls`; those about a file are not kept
    without. `test_sets` are the texts of tests that must not be among the prompts, by name.
    """
    asked = Asked(
        policy=policy,
        reference=reference,
        embeddings=embeddings,
        models=models or {},
        calls=calls,
        budget=budget,
    )
    with opened(source, as_, **options) as run:
        return audit(full_data(run, asked, gold=gold, test_sets=test_sets), progress=progress)
