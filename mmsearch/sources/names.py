"""Names of files as messages show them."""


def one_line(text: str) -> str:
    """A file name or value for a message: whatever cannot be printed is escaped.

    File names may hold line breaks, terminal codes and bytes that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
