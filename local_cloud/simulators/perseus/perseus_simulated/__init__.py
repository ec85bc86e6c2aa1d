"""A stand-in for Perseus, Aerospike's load generator.

Its files, table and habits (the odd ones too) are facts from the public source of the real one
(aerospike-community/aerospike-perseus, 2025-05-30) and from runs of it. Needs Python 3.11, PyYAML and the official
client `aerospike`.
"""

VERSION = "1.0 SIMULATED"
BANNER = (
    "SIMULATED Perseus: a stand-in made by Pegasus. Each thread is paced to at most {rate} operations a second; "
    "the operations are real, the rates say nothing about Perseus or Aerospike."
)
