"""Names of base models: what is found, what is completed, and what is refused."""

import json
from pathlib import Path

import pytest

from pawl_shared.errors import BaseModelError
from pawl_shared.models import base_models


def write_folder(folder: Path, **tokenizer_config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 77}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody should read")
    return folder


def test_a_local_folder_is_copied_once_and_gets_its_template_as_a_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "Mine", chat_template="{{ messages }}")
    first = base_models.resolve(str(source), tmp_path / "cache")
    assert (first.name, first.context_length, first.source) == ("Mine", 77, "folder")
    assert (first.folder / "chat_template.jinja").read_text() == "{{ messages }}"
    assert not (first.folder / "training_args.bin").exists()
    assert base_models.resolve(str(source), tmp_path / "cache") == first
    assert base_models.load_resolved(first.folder) == first
    assert [path for path in (tmp_path / "cache").iterdir() if path != first.folder] == []


def test_a_changed_folder_is_another_base(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "mine", chat_template="a")
    first = base_models.resolve(str(source), tmp_path / "cache")
    (source / "model.safetensors").write_bytes(b"other weights")
    assert base_models.resolve(str(source), tmp_path / "cache").folder != first.folder


def test_the_default_of_several_templates_is_taken(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    source = write_folder(tmp_path / "mine", chat_template=named)
    folder = base_models.resolve(str(source), tmp_path / "cache").folder
    assert (folder / "chat_template.jinja").read_text() == "d"


def test_what_cannot_be_a_base_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    plain = write_folder(tmp_path / "plain")
    with pytest.raises(BaseModelError, match="no chat template"):
        base_models.resolve(str(plain), tmp_path / "cache")
    pickled = write_folder(tmp_path / "pickled", chat_template="t")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match="pickles are not read"):
        base_models.resolve(str(pickled), tmp_path / "cache")
    with pytest.raises(BaseModelError, match="is no base model"):
        base_models.resolve("no such thing", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unreachable_hub_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BaseModelError, match="give a local folder or a GGUF file"):
        base_models.resolve("owner/model", tmp_path / "cache")
