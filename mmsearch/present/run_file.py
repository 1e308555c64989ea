"""What an evaluation has found as a TREC ``run`` file."""

import os

from mmsearch.engine.evaluation import Evaluation
from mmsearch.present.standalone import write_whole
from mmsearch.sources.trec import run_lines

TAG = "mmsearch"


def write_run(evaluation: Evaluation, out: str | os.PathLike[str]) -> None:
    """Write what was found, for trec_eval and for ``evaluate(..., against=out)``.

    Items have the names that they were judged by. Names are percent-encoded where they hold white
    space, ``%``, control characters or bytes that are not UTF-8.

    Args:
        evaluation: What :func:`mmsearch.evaluate` returns.
        out: The file; replaced if it exists.

    Raises:
        MMSearchError: It cannot be written.
    """
    lines = "".join(f"{line}\n" for line in run_lines(evaluation.run, TAG))
    write_whole(out, lines.encode())
