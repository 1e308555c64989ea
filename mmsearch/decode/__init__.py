"""From files to pictures, sounds and passages, within limits."""
