"""A simulator of Perseus, Aerospike's load generator.

Its files, its table and its behaviour, oddities included, are facts from the public source of the real Perseus
(aerospike-community/aerospike-perseus, 2025-05-30) and from runs of it. Needs Python 3.11, PyYAML and the official
client `aerospike`.
"""

VERSION = "1.0 SIMULATED"
BANNER = (
    "SIMULATED Perseus: a stand-in made by Pegasus. Each thread is paced to at most {rate} operations a second; "
    "the operations are real, the rates say nothing about Perseus or Aerospike."
)
