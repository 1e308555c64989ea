"""The command line: each command is one call of the public API, plus printing."""
