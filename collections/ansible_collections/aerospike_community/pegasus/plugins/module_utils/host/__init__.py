# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""One Linux host: facts, packages, services, kernel, disks, files, logs."""
