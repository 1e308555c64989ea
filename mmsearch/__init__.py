"""Search your pictures, texts and sounds with any of them."""
