"""A small random EmbeddingGemma 2 checkpoint in the format of the real one."""

import json
from pathlib import Path
from typing import Any

DIM = 24
PROMPTS = {
    "Document": "title: none | text: ",
    "SearchQuery": "task: search result | query: ",
}
MARKS = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}


def tokenizer() -> Any:
    """Letters, and the marks around pictures and sounds."""
    from tokenizers import Tokenizer, models
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>", *MARKS.values(), "<|video|>"]
    tokens = [*special, *map(chr, range(32, 127))]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    bare = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    bare.add_special_tokens(special)
    ends = [("<bos>", vocabulary["<bos>"]), ("<eos>", vocabulary["<eos>"])]
    bare.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=ends)
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=bare,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        extra_special_tokens=MARKS,
    )


def config(words: Any) -> Any:
    """The sizes of the networks."""
    from transformers import (
        EmbeddingGemma2Config,
        EmbeddingGemma2TextConfig,
        Gemma4AudioConfig,
        Gemma4VisionConfig,
    )

    small: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2}
    text: Any = EmbeddingGemma2TextConfig(
        **small,
        vocab_size=len(words),
        intermediate_size=48,
        num_hidden_layers=2,
        num_key_value_heads=1,
        head_dim=16,
        hidden_size_per_layer_input=16,
        embedding_dim=DIM,
        sliding_window=8,
        sliding_window_pattern=2,  # type: ignore[call-arg]
        global_head_dim=32,
        max_position_embeddings=512,
    )
    vision: Any = Gemma4VisionConfig(
        **small,
        intermediate_size=48,
        num_hidden_layers=1,
        num_key_value_heads=2,
        head_dim=16,
        pooling_kernel_size=2,
        patch_size=8,
        position_embedding_size=64,
    )
    audio: Any = Gemma4AudioConfig(
        **small, num_hidden_layers=1, subsampling_conv_channels=(128, 4), output_proj_dims=20
    )
    ids = {
        "boi_token_id": "<|image>",
        "eoi_token_id": "<image|>",
        "image_token_id": "<|image|>",
        "video_token_id": "<|video|>",
        "boa_token_id": "<|audio>",
        "eoa_token_index": "<audio|>",
        "audio_token_id": "<|audio|>",
    }
    numbers: Any = {name: words.convert_tokens_to_ids(token) for name, token in ids.items()}
    return EmbeddingGemma2Config(
        text_config=text, vision_config=vision, audio_config=audio, **numbers
    )


def write_gemma(folder: Path, image: dict[str, Any], audio: dict[str, Any]) -> Path:
    """Write a checkpoint as ``save_pretrained`` and sentence-transformers do.

    Args:
        folder: Where.
        image: Changes to the picture's preprocessing.
        audio: Changes to the sound's.
    """
    import torch
    from transformers import (
        EmbeddingGemma2Model,
        EmbeddingGemma2Processor,
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessor,
    )
    from transformers.models.embedding_gemma2.video_processing_embedding_gemma2 import (
        EmbeddingGemma2VideoProcessor,
    )
    from transformers.utils import logging

    torch.manual_seed(0)
    torch.set_num_threads(1)
    words = tokenizer()
    bars: Any = logging
    bars.disable_progress_bar()
    EmbeddingGemma2Model(config(words)).save_pretrained(folder)
    bars.enable_progress_bar()
    sizes: dict[str, Any] = {"patch_size": 8, "pooling_kernel_size": 2, "max_soft_tokens": 70}
    make_image, make_audio, make_processor, make_video = (
        Gemma4ImageProcessor,
        Gemma4AudioFeatureExtractor,
        EmbeddingGemma2Processor,
        EmbeddingGemma2VideoProcessor,
    )  # type: Any, Any, Any, Any
    make_processor(
        feature_extractor=make_audio(**audio),
        image_processor=make_image(**sizes | image),
        tokenizer=words,
        video_processor=make_video(),
        image_seq_length=70,
        audio_seq_length=280,
    ).save_pretrained(folder)
    _sentence_transformers(folder)
    return folder


def _sentence_transformers(folder: Path) -> None:
    """What that library reads: the last states, their mean, normalised."""
    package = "sentence_transformers"
    kinds = {
        "": f"{package}.base.modules.transformer.Transformer",
        "1_Pooling": f"{package}.{package[:-1]}.modules.pooling.Pooling",
        "2_Normalize": f"{package}.base.modules.normalize.Normalize",
    }
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    method = {"method": "forward", "method_output_name": "last_hidden_state"}
    transformer = {
        "transformer_task": "feature-extraction",
        "modality_config": dict.fromkeys(("text", "image", "audio"), method),
        "module_output_name": "token_embeddings",
    }
    settings = {"model_type": "SentenceTransformer", "prompts": PROMPTS}
    pooling = {"embedding_dimension": DIM, "pooling_mode": "mean", "include_prompt": True}
    for path, content in (
        ("modules.json", modules),
        ("sentence_bert_config.json", transformer),
        ("config_sentence_transformers.json", settings),
        ("1_Pooling/config.json", pooling),
        ("2_Normalize/config.json", {}),
    ):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))
