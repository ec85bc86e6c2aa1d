"""Instance-store disks: loop devices, their partitions, and the device nodes that an instance sees."""
