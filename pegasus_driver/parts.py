"""The parts of an environment. Two actions that share a part exclude each other."""

from enum import StrEnum


class Part(StrEnum):
    """A part of an environment that an action changes.

    The order is the order in which locks are taken. `words` is how a message names the part.
    """

    words: str

    def __new__(cls, value: str, words: str) -> "Part":
        part = str.__new__(cls, value)
        part._value_ = value
        part.words = words
        return part

    SERVERS = "servers", "the servers"
    CLIENTS = "clients", "the clients"
    MONITORS = "monitors", "the monitors"
    LOAD = "load", "the live load"
    EXPIRY = "expiry", "the expiry"
    ACCESS = "access", "access from outside"


ALL = tuple(Part)
