# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What a module or action plugin of this collection returns for the driver and for the callback ``annotations``.

Neither knows a module by name. They read these keys of the result of any module of this collection:

===========  ===============  =========================================================================================
key          type             meaning
===========  ===============  =========================================================================================
note         str, list        lines to show while the run continues, on success; a module that runs on several hosts
                              puts the host's name into them
question     str              what the user must confirm before the play continues; ``message`` is shown with it
report       dict             the environment report, with ``lines`` (the same as text) and ``problems`` (why it isn't
                              ready)
changes      list of str      what changed, or would change in check mode; ``message`` if there is no such key
message      str, list        the result in words
annotation   list of str      what the annotation in Grafana says of a change, instead of the host's name
error_class  str              class of a failure, one of the constants below; it decides the driver's exit code
next_step    str              what the user should do about a failure
===========  ===============  =========================================================================================

All keys are optional. A failure without ``error_class`` counts as a failure of the host.
"""

from __future__ import annotations

# The command line, or what it names doesn't exist.
USAGE = "usage"
# config.yml, threads.yaml or the licence is wrong.
CONFIGURATION = "configuration"
# EC2 refused.
CREDENTIALS = "credentials"
QUOTA = "quota"
CAPACITY = "capacity"
PERMISSION = "permission"
ENDPOINT = "endpoint"
OTHER = "other"
# A host can't be reached.
SSH = "ssh"
# A step failed on a host.
HOST = "host"
# Everything is installed, but the cluster, the load or the monitoring isn't ready.
READINESS = "readiness"
