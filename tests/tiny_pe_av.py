"""Small random PE-AV checkpoints: of an audio model, and of one for video that holds one."""

from pathlib import Path
from typing import Any

from tiny_checkpoints import letters_tokenizer

DIM = 24


def config() -> Any:
    """The sizes of the audio model; a hop is 8 samples."""
    from transformers import PeAudioConfig

    text = {"model_type": "modernbert", "hidden_size": DIM, "intermediate_size": 32}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 300}
    text |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    text |= {"cls_token_id": 0, "sep_token_id": 2}
    codec = {"model_type": "dac", "downsampling_ratios": [2, 4], "encoder_hidden_size": 8}
    codec |= {"codebook_dim": 16, "hidden_size": 16}
    audio: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "dac_config": codec}
    audio |= {"num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
    make: Any = PeAudioConfig
    return make(text_config=text, audio_config=audio)


def network() -> Any:
    """An audio model whose weights are large enough for its inputs to count."""
    import torch
    from transformers import PeAudioModel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    found: Any = PeAudioModel(config())
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return found.eval()


def write_pe_av(folder: Path, video: bool = False, rate_hz: int = 8000) -> Path:
    """Write a checkpoint with ``save_pretrained``, or with the names of one for video."""
    from safetensors.torch import save_file
    from transformers import PeAudioFeatureExtractor
    from transformers.utils import logging

    bars: Any = logging
    bars.disable_progress_bar()
    found = network()
    if video:
        state = {_name(key): value for key, value in found.state_dict().items()}
        folder.mkdir()
        save_file(state, folder / "model.safetensors")
        video_config(found.config).save_pretrained(folder)
    else:
        found.save_pretrained(folder)
    bars.enable_progress_bar()
    make: Any = PeAudioFeatureExtractor
    make(sampling_rate=rate_hz, hop_length=8).save_pretrained(folder)
    letters_tokenizer(model_max_length=1000).save_pretrained(folder)
    return folder


def video_config(audio: Any) -> Any:
    """A model for video around an audio model; its text model is shared."""
    from transformers import PeAudioVideoConfig

    make: Any = PeAudioVideoConfig
    text, inner = audio.text_config.to_dict(), {"audio_config": audio.audio_config.to_dict()}
    return make(text_config=text, audio_video_config=inner)


def _name(key: str) -> str:
    return key if key.startswith("text_model.") else f"audio_model.{key}"
