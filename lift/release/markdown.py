"""Pieces of the model card: paragraphs, tables and commands in Markdown."""

import textwrap


def wrap(sentence: str) -> str:
    """A paragraph in lines of at most 98 characters."""
    return textwrap.fill(sentence, 98, break_long_words=False, break_on_hyphens=False)


def table(rows: list[list[str]]) -> str:
    """A table; the first row is its head."""
    head, *body = (f"| {' | '.join(row)} |".replace("|  ", "| ") for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def wrap_command(words: list[str], width: int = 96) -> str:
    """A command on several lines, joined by backslashes."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > width:
            lines[-1] += " \\"
            lines.append(" ")
        lines[-1] += f" {word}"
    return "\n".join(lines)
