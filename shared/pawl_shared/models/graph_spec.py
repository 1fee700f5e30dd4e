"""`pawl.json`: what a serving graph is, for those who pack adapters for it and those who run it."""

import json
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pawl_shared.errors import BaseModelError

SPEC_FILE = "pawl.json"
GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"


Precision = Literal["int8", "fp16", "fp32"]


class Site(BaseModel):
    """One place of the graph where an adapter adds to a linear layer: y += (x A^T) B, for every live slot at once.

    A site holds as many low-rank blocks as modules were fused into the layer (3 for a fused q, k and v). The shapes of
    its two graph inputs are those of `slot_layout`.
    """

    model_config = ConfigDict(frozen=True)

    a: str  # graph input; in a slot file [blocks * rank, inputs]
    b: str  # graph input; in a slot file [GraphSpec.b_rows, sum(outputs)]
    inputs: int
    outputs: tuple[int, ...]
    modules: tuple[str, ...]  # as named in the Hugging Face model, e.g. model.layers.0.self_attn.q_proj

    @property
    def blocks(self) -> int:
        return len(self.modules)

    @property
    def width(self) -> int:
        """Outputs of a unit: the blocks of a grouped graph are cut into units of the same width."""
        return math.gcd(*self.outputs)

    @property
    def units(self) -> tuple[int, ...]:
        """Which block each unit belongs to: (0, 0, 0, 1, 2) for a q that is three times as wide as k and v."""
        return tuple(block for block, outputs in enumerate(self.outputs) for _ in range(outputs // self.width))


class GraphSpec(BaseModel):
    """The dimensions and sites of a serving graph.

    `gain` is what B must be multiplied by (the graph halves products). Format v1 chooses adapters by masks, v2 groups
    rows by adapter (ADR 24); both are served.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["pawl.graph.v1", "pawl.graph.v2"] = "pawl.graph.v1"
    name: str
    base: str
    precision: Precision
    rank: int
    gain: float
    context_length: int
    vocab_size: int
    layers: int
    kv_heads: int
    head_size: int
    eos_token_ids: tuple[int, ...]
    special_tokens: dict[str, str]  # bos_token, eos_token ... as the chat template expects them
    sites: tuple[Site, ...]

    @property
    def grouped(self) -> bool:
        return self.format == "pawl.graph.v2"

    def b_rows(self, site: Site) -> int:
        """Rows of a site's B in a slot file: masked graphs take it block-diagonal, with zeros between the blocks."""
        return self.rank if self.grouped else site.blocks * self.rank

    @property
    def element(self) -> Literal["float16", "float32"]:
        """Type of masks, adapters, keys, values and logits; int8 weights have float32 around them."""
        return "float16" if self.precision == "fp16" else "float32"

    @property
    def block_counts(self) -> tuple[int, ...]:
        """Distinct numbers of blocks over all sites: the masked graph has one mask input for each."""
        return tuple(sorted({site.blocks for site in self.sites}))


def read_spec(graph_folder: Path) -> GraphSpec:
    """Read the description of a serving graph.

    Raises:
        BaseModelError: the folder is no serving graph of this version of Pawl.
        OSError: it cannot be read just now; another time it may.
    """
    try:
        return GraphSpec.model_validate_json((graph_folder / SPEC_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError) as error:
        raise BaseModelError(f"{graph_folder.name} is no serving graph; export the base model again") from error


def write_spec(graph_folder: Path, spec: GraphSpec) -> None:
    """Write the description, byte for byte the same for the same graph."""
    text = json.dumps(spec.model_dump(mode="json"), indent=1, sort_keys=True)
    (graph_folder / SPEC_FILE).write_text(text + "\n", encoding="utf-8")
