"""Uploading an export to the Hugging Face Hub, where its user has a token (`HF_TOKEN`, or that of `hf auth login`)."""

from __future__ import annotations

from typing import Any

import msgspec

from triptych.errors import TriptychError
from triptych.export.export import ExportResult


def hub() -> Any:
    """The hub as the user's token opens it. Raises `TriptychError` without the package, or without a token."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise TriptychError("--push needs the package huggingface_hub: pip install 'triptych[hub]'") from error
    if get_token() is None:
        raise TriptychError("--push needs a token of the Hugging Face Hub in the environment variable HF_TOKEN")
    return HfApi()


def push_to(api: Any, repo: str, result: ExportResult) -> ExportResult:
    """Upload the files of an export, in one commit, to a data set that is made private where it is new.

    Raises `TriptychError` where the hub refuses, or can't be reached.
    """
    from huggingface_hub import CommitOperationAdd, get_token

    files = [CommitOperationAdd(str(file.relative_to(result.path)), str(file)) for file in result.files]
    try:
        made = api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(made.repo_id, files, repo_type="dataset", commit_message=f"{result.named()}, by Triptych")
    except Exception as error:  # of the package, or of the client for HTTP that it uses
        said = str(error).strip().partition("\n")[0].replace(get_token() or "\n", "[left out]") or type(error).__name__
        raise TriptychError(f"the files are in {result.path}, but could not be uploaded to {repo}: {said}") from None
    return msgspec.structs.replace(result, pushed=str(made))
