"""The command line: each command is one call of the public API, plus printing."""

import os
import signal
import sys


def main() -> None:
    """Run the command line; errors are one line on stderr.

    Exit codes: 0 done, 1 a runtime error, 2 wrong usage, 130 interrupted.
    """
    # The machine's default: whoever reads our output and leaves early (`| head`) ends us quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from mmsearch.cli.app import run

    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    # Worker threads of libraries must not delay the prompt.
    sys.stderr.flush()
    os._exit(code)
