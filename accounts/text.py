"""Text from outside, made fit to be stored, sent and shown."""


def clean_text(value: object, longest: int) -> str:
    """`value` without control characters and lone surrogates, at most `longest` characters; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    printable = "".join(character if character.isprintable() else " " for character in value[: longest * 4])
    return printable.strip()[:longest]
