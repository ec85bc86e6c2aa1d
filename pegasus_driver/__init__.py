"""The driver of Pegasus: one command per action on a test environment. Importing it imports nothing heavy."""

__version__ = "0.1.0"
