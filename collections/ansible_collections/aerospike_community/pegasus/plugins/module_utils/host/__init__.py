"""One Linux host: facts, packages, services, kernel, disks, files, logs."""
