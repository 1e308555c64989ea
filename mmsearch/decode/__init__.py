"""From files to pictures, sounds and passages, within limits."""

from mmsearch.decode.files import content_hash
from mmsearch.decode.part import Decoded, decode_part
from mmsearch.decode.quiet import quiet_native_libraries, quiet_pillow

__all__ = ["Decoded", "content_hash", "decode_part", "quiet_native_libraries", "quiet_pillow"]
