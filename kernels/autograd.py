"""Operations of PyTorch that are written in Python."""

from collections.abc import Callable, Iterable

from torch.library import Library


def define(
    namespace: str, schemas: Iterable[str], functions: Iterable[Callable], keys: Iterable[str]
) -> Library:
    """Define operations and what computes them.

    Args:
        namespace: such as "lift_triton"; it may have other operations.
        schemas: as PyTorch writes them, each beginning with the operation's name.
        functions: each computes the operation of the schema in its place.
        keys: where they do, such as "CPU".

    Returns:
        What keeps the operations: they live as long as it does.
    """
    library = Library(namespace, "FRAGMENT")
    for schema, function in zip(schemas, functions, strict=True):
        library.define(schema)
        for key in keys:
            library.impl(schema.split("(")[0], function, key)
    return library
