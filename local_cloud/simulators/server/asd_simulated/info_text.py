"""The text of the info protocol: parameters of a command, values of an answer, errors."""

ERR_PARAMETER = 4
ERR_CLUSTER_KEY_MISMATCH = 7
ERR_UNSUPPORTED = 16
ERR_NAMESPACE = 20
ERR_ENTERPRISE_ONLY = 25


class InfoError(Exception):
    """The answer is ERROR:<code>:<message>."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"ERROR:{code if code else ''}:{message}")


def parameters(text: str) -> dict[str, str]:
    """`a=1;b=2` as a dictionary."""
    found = {}
    for part in filter(None, text.split(";")):
        name, _, value = part.partition("=")
        found[name] = value
    return found


def join(values: dict[str, object], separator: str = ";") -> str:
    """A dictionary as `a=1;b=2`."""
    shown = ((name, str(value).lower() if isinstance(value, bool) else value) for name, value in values.items())
    return separator.join(f"{name}={value}" for name, value in shown)
