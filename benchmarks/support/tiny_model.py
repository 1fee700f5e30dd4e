"""A tiny random chat model (about 0.2 M parameters, made in a second) for tests that need a real decoder.

It writes nonsense, but everything about it is real: grouped-query attention, a byte-level BPE tokenizer
that is trained in place, a ChatML template, and the files that `pawl_shared.models.base_models.resolve` gives.
"""

import json
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = [
    "What is a good way to learn to cook? Start with a simple soup, then try bread.",
    "How do I plan a short trip to the sea? Pack a map, water and a warm coat.",
    "Explain why the sky is blue in a few words: light is scattered by the air.",
    "Tell me about dogs, cats, birds and fish. Which of them is the best friend of a child?",
    "The quick brown fox jumps over the lazy dog; the answer is 42, isn't it? Yes, and no.",
]


def write_random_tiny(folder: Path, seed: int = 0, architecture: str = "llama") -> Path:
    """Write the model's folder (as resolved by base_models) and return it; the same seed gives the same weights.

    `architecture` is a model type of transformers: llama, qwen2 (biases), qwen3 (norms on queries and keys) ...
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, end, start = _write_tokenizer(folder)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        # Far from the usual 0.02: the answers then differ clearly from prompt to prompt.
        initializer_range=0.2,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    info = {"name": "tiny", "licence": "apache-2.0", "source": "folder", "revision": "", "context_length": 512}
    (folder / "pawl_base.json").write_text(json.dumps(info, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _write_tokenizer(folder: Path) -> tuple[int, int, int]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return len(fast), int(fast.convert_tokens_to_ids("<|im_end|>")), int(fast.convert_tokens_to_ids("<|im_start|>"))
