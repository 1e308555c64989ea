"""From a candidate's signals to its final score."""
