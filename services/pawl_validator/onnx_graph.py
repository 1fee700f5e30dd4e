"""Rewrites a decoder graph of the onnxruntime-genai builder so that LoRA weights are inputs.

For every adapted linear layer y = x W a *grouped* graph gets, for all live slots at once (ADR 24):

    g  = x[grouped]            Gather       [slots, 1, group, inputs]: the rows of each slot
    h  = 0.5 * g A             FusedMatMul  [slots, blocks, group, rank]
    d  = 0.5 * h B^T           FusedMatMul  [slots, units, group, width]; a Gather before it repeats blocks by unit
    y' = 0.5 * pick d + y      Gemm         [rows, outputs]; `pick` is 1 where a row is that place of that group

and a *masked* graph (S = slots * blocks * rank; ADR 9):

    h^T = 0.5 * A x^T          Gemm   [S, rows]
    m   = h^T * mask           Mul    a row keeps only the slot that it runs on
    y'  = m^T B + y            Gemm   the Add is folded in

In both, each row's sum holds exact zeros for what is not its own, so that a row in a mixed batch equals the row alone,
bit for bit (measured up to batch 16 on int8). The token stream runs as [batch * sequence, hidden] and becomes
[batch, sequence, hidden] only around attention and the LM head.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import TensorProto, helper

from pawl_shared.errors import BaseModelError
from pawl_shared.models.graph_spec import Site

# A Gemm with alpha 1 takes other kernels for one row than for many, with another order of summation; 0.5 keeps one
# kernel for every batch up to 16, and B is multiplied for it (exact: powers of two).
ALPHA = 0.5
MASKED_GAIN, GROUPED_GAIN = 1 / ALPHA, 1 / ALPHA**3
# A wider product than this is cut by the number of threads, and summed in other parts for it.
GROUPED_RANK_LIMIT = 16
_LINEAR = re.compile(r"/model/layers\.(\d+)/(attn|mlp)/(\w+_proj)/MatMul/output_0")
_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_BLOCK_NAMES = {"attn": "self_attn", "mlp": "mlp"}
# Operators that work on the last dimension or element by element, so that the stream may be two-dimensional.
_ROW_WISE = {
    "MatMul", "MatMulNBits", "Gemm", "Add", "Sub", "Mul", "Div", "Sigmoid", "Tanh", "Relu", "Gelu", "FastGelu",
    "QuickGelu", "Swish", "Silu", "Split", "Cast", "Reshape", "Constant", "Gather", "Transpose", "GroupQueryAttention",
    "LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
}  # fmt: skip


@dataclass
class _Rewrite:
    model: onnx.ModelProto
    modules: frozenset[str]  # linear modules of the Hugging Face model
    grouped: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[str, list[int]] = field(default_factory=dict)
    gathered: set[str] = field(default_factory=set)

    def emit(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        domain = "com.microsoft" if operator == "FusedMatMul" else ""
        name = f"{output}/{operator}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def constant(self, values: list[int]) -> str:
        name = "/lora/" + "_".join(map(str, values))
        self.constants[name] = values
        return name


def rewrite(model: onnx.ModelProto, modules: frozenset[str], *, grouped: bool) -> list[Site]:
    """Turn a built decoder into the serving graph, in place, and return where adapters plug in.

    Inputs afterwards: input_ids [batch, sequence], past key/value buffers, seqlens_k [batch] (length after this step
    minus 1), total_sequence_length [], positions [n] (which positions of the sequence give logits), shape_2d =
    (batch * sequence, -1), shape_3d = (batch, sequence, -1), grouped [slots, 1, group] and pick [batch * sequence,
    slots * group] or else mask_<blocks> [S, batch * sequence], and A and B of each site.

    Args:
        model: from the onnxruntime-genai model builder, external data not loaded.
        modules: paths of the linear modules, for example "model.layers.0.self_attn.q_proj".
        grouped: for ranks up to GROUPED_RANK_LIMIT.

    Raises:
        BaseModelError: the graph has an operator or a layout that cannot carry adapters.
    """
    state = _Rewrite(model, modules, grouped)
    state.shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    _check_operators(model)
    for node in list(model.graph.node):
        _visit(state, node)
    if not state.sites:
        raise BaseModelError("the exported graph has no linear layers under their usual names; adapters have no place")
    _replace_nodes(state)
    _replace_inputs(state)
    # The builder adds the commit of whatever repository it is called in; the same base must give the same bytes.
    model.producer_version = model.producer_version.partition("+")[0]
    return state.sites


def _check_operators(model: onnx.ModelProto) -> None:
    if any(item.name == "position_ids" for item in model.graph.input):
        raise BaseModelError("this architecture rotates outside of attention; its serving graph is not supported yet")
    for node in model.graph.node:
        if "attn_mask_reformat" not in node.name and node.op_type not in _ROW_WISE:
            raise BaseModelError(f"the operator {node.op_type} of this architecture cannot run with adapter slots yet")


def _visit(state: _Rewrite, node: onnx.NodeProto) -> None:
    if "attn_mask_reformat" in node.name:
        return
    if node.op_type == "GroupQueryAttention":
        _attention(state, node)
    elif node.name == "/model/embed_tokens/Gather":
        output = node.output[0]
        node.output[0] = f"{output}/3d"
        state.nodes.append(node)
        state.emit("Reshape", [f"{output}/3d", "shape_2d"], output)
    elif node.name.startswith("/lm_head/MatMul"):
        source = node.input[0]
        state.emit("Reshape", [source, "shape_3d"], f"{source}/3d")
        state.emit("Gather", [f"{source}/3d", "positions"], "/lm_head/positions", axis=1)
        node.input[0] = "/lm_head/positions"
        state.nodes.append(node)
    else:
        _linear(state, node)


def _attention(state: _Rewrite, node: onnx.NodeProto) -> None:
    for index in range(3):  # packed q, k and v in the first input, or one each
        source = node.input[index]
        if source:
            state.emit("Reshape", [source, "shape_3d"], f"{source}/3d")
            node.input[index] = f"{source}/3d"
    node.input[5], node.input[6] = "seqlens_k", "total_sequence_length"
    output = node.output[0]
    node.output[0] = f"{output}/3d"
    state.nodes.append(node)
    state.emit("Reshape", [f"{output}/3d", "shape_2d"], output)


def _linear(state: _Rewrite, node: onnx.NodeProto) -> None:
    match = _LINEAR.fullmatch(node.output[0]) if node.op_type in ("MatMul", "MatMulNBits") else None
    if match is None:
        split = [found for output in node.output if (found := _LINEAR.fullmatch(output))]
        if (
            node.op_type == "Split" and split and not state.grouped
        ):  # gate and up come out of one matrix; each gets its own site
            _split_sites(state, node, split)
        else:
            state.nodes.append(node)
        return
    inputs, outputs = _dimensions(state, node)
    layer, block, projection = int(match[1]), match[2], match[3]
    path = f"model.layers.{layer}.{_BLOCK_NAMES[block]}"
    parts = _FUSED.get(projection, (projection,))
    if f"{path}.{projection}" in state.modules:  # fused in the model itself: one adapter for all of it
        _site(state, node, 0, node.input[0], (f"{path}.{projection}",), inputs, (outputs,))
    elif projection == "gate_up_proj" and state.grouped:
        _site(state, node, 0, node.input[0], tuple(f"{path}.{part}" for part in parts), inputs, (outputs // 2,) * 2)
    elif projection == "gate_up_proj":
        state.nodes.append(node)  # the Split that follows carries the sites
    elif projection == "qkv_proj":
        widths = _qkv_widths(state, outputs)
        _site(state, node, 0, node.input[0], tuple(f"{path}.{part}" for part in parts), inputs, widths)
    else:
        _site(state, node, 0, node.input[0], (f"{path}.{projection}",), inputs, (outputs,))


def _split_sites(state: _Rewrite, node: onnx.NodeProto, found: list[re.Match[str]]) -> None:
    producer = next(item for item in state.nodes if node.input[0] in item.output)
    inputs, outputs = _dimensions(state, producer)
    state.nodes.append(node)
    for index, match in enumerate(found):
        module = f"model.layers.{match[1]}.{_BLOCK_NAMES[match[2]]}.{match[3]}"
        _site(state, node, index, producer.input[0], (module,), inputs, (outputs // len(found),), keep=False)


def _site(
    state: _Rewrite,
    node: onnx.NodeProto,
    index: int,
    source: str,
    modules: tuple[str, ...],
    inputs: int,
    outputs: tuple[int, ...],
    keep: bool = True,
) -> None:
    """Add the adapter's nodes after output `index` of a node, and the site's two inputs."""
    output = node.output[index]
    node.output[index] = f"{output}/base"
    if keep:
        state.nodes.append(node)
    name = output.removeprefix("/model/").removesuffix("/MatMul/output_0").replace("/", ".")
    site = Site(a=f"lora.{name}.A", b=f"lora.{name}.B", inputs=inputs, outputs=outputs, modules=modules)
    state.sites.append(site)
    (_grouped_nodes if state.grouped else _masked_nodes)(state, site, source, f"/lora/{name}", output)


def _masked_nodes(state: _Rewrite, site: Site, source: str, low: str, output: str) -> None:
    state.emit("Gemm", [site.a, source], f"{low}/h", transB=1, alpha=ALPHA)
    state.emit("Mul", [f"{low}/h", f"mask_{site.blocks}"], f"{low}/m")
    state.emit("Gemm", [f"{low}/m", site.b, f"{output}/base"], output, transA=1)


def _grouped_nodes(state: _Rewrite, site: Site, source: str, low: str, output: str) -> None:
    if source not in state.gathered:
        state.gathered.add(source)
        state.emit("Gather", [source, "grouped"], f"{source}/grouped", axis=0)
    h = state.emit("FusedMatMul", [f"{source}/grouped", site.a], f"{low}/h", alpha=ALPHA)
    if len(site.units) > site.blocks:
        h = state.emit("Gather", [h, state.constant(list(site.units))], f"{low}/u", axis=1)
    d = state.emit("FusedMatMul", [h, site.b], f"{low}/d", transB=1, alpha=ALPHA)
    if len(site.units) > 1:
        d = state.emit("Transpose", [d], f"{low}/t", perm=[0, 2, 1, 3])
    d = state.emit("Reshape", [d, state.constant([-1, sum(site.outputs)])], f"{low}/r")
    state.emit("Gemm", ["pick", d, f"{output}/base"], output, alpha=ALPHA)


def _dimensions(state: _Rewrite, node: onnx.NodeProto) -> tuple[int, int]:
    if node.op_type == "MatMulNBits":
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        return int(attributes["K"]), int(attributes["N"])
    inputs, outputs = state.shapes[node.input[1]]
    return inputs, outputs


def _qkv_widths(state: _Rewrite, outputs: int) -> tuple[int, int, int]:
    attention = next(node for node in state.model.graph.node if node.op_type == "GroupQueryAttention")
    heads = {item.name: helper.get_attribute_value(item) for item in attention.attribute}
    size = outputs // (heads["num_heads"] + 2 * heads["kv_num_heads"])
    return heads["num_heads"] * size, heads["kv_num_heads"] * size, heads["kv_num_heads"] * size


def _replace_nodes(state: _Rewrite) -> None:
    graph = state.model.graph
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in state.nodes]
    del graph.node[:]
    graph.node.extend(copies)
    used = {name for node in copies for name in node.input}
    initializers = [onnx.TensorProto.FromString(item.SerializeToString()) for item in graph.initializer]
    del graph.initializer[:]
    graph.initializer.extend(item for item in initializers if item.name in used)
    for name, values in state.constants.items():
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
    if state.grouped and all(item.domain != "com.microsoft" for item in state.model.opset_import):
        state.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    del graph.value_info[:]  # shapes of the three-dimensional stream


def _replace_inputs(state: _Rewrite) -> None:
    graph = state.model.graph
    kept = [item for item in graph.input if item.name != "attention_mask"]
    copies = [onnx.ValueInfoProto.FromString(item.SerializeToString()) for item in kept]
    del graph.input[:]
    graph.input.extend(copies)
    graph.input.extend(_new_inputs(state))
    logits = next(item for item in graph.output if item.name == "logits")
    logits.type.tensor_type.shape.dim[1].dim_param = "positions"


def _new_inputs(state: _Rewrite) -> Iterator[onnx.ValueInfoProto]:
    yield helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["batch_size"])
    yield helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, [])
    yield helper.make_tensor_value_info("positions", TensorProto.INT64, ["positions"])
    yield helper.make_tensor_value_info("shape_2d", TensorProto.INT64, [2])
    yield helper.make_tensor_value_info("shape_3d", TensorProto.INT64, [3])
    element = next(item for item in state.model.graph.output if item.name == "logits").type.tensor_type.elem_type
    value = helper.make_tensor_value_info
    if state.grouped:
        yield value("grouped", TensorProto.INT64, ["slots", 1, "group"])
        yield value("pick", element, ["rows", "slots * group"])
        for site in state.sites:
            yield value(site.a, element, ["slots", site.blocks, site.inputs, "rank"])
            yield value(site.b, element, ["slots", len(site.units), site.width, "rank"])
        return
    for blocks in sorted({site.blocks for site in state.sites}):
        yield value(f"mask_{blocks}", element, [f"S{blocks}", "rows"])
    for site in state.sites:
        yield value(site.a, element, [f"S{site.blocks}", site.inputs])
        yield value(site.b, element, [f"S{site.blocks}", sum(site.outputs)])
