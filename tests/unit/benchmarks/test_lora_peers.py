"""The adapter that llama.cpp is measured with is the one that Pawl is measured with."""

from pathlib import Path

import numpy as np
from benchmarks.support import lora_peers
from gguf import GGUFReader

from pawl_shared.models import lora_format

RANK = 2
Q, K, DOWN = (f"model.layers.3.{name}_proj" for name in ("self_attn.q", "self_attn.k", "mlp.down"))


def test_an_adapter_becomes_llama_cpps(tmp_path: Path) -> None:
    lora_peers.random_adapter(tmp_path / "adapter", {Q: (6, 8), K: (6, 4), DOWN: (5, 6)}, seed=1, rank=RANK)
    adapter = lora_format.read_adapter(tmp_path / "adapter")
    reader = GGUFReader(str(lora_peers.write_gguf(tmp_path / "adapter.gguf", adapter, heads=2, kv_heads=1)))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert fields["adapter.lora.alpha"] == 2 * RANK
    found = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
    assert len(found) == 6
    a, b = adapter.pair(DOWN) or (None, None)
    np.testing.assert_array_equal(found["blk.3.ffn_down.weight.lora_a"], a.astype(np.float16))
    np.testing.assert_array_equal(found["blk.3.ffn_down.weight.lora_b"], b.astype(np.float16))
    # Value i of a head's first half comes beside value i of its second half.
    for module, name, order in ((Q, "attn_q", [0, 2, 1, 3, 4, 6, 5, 7]), (K, "attn_k", [0, 2, 1, 3])):
        _, b = adapter.pair(module) or (None, None)
        np.testing.assert_array_equal(found[f"blk.3.{name}.weight.lora_b"], b[order].astype(np.float16))
