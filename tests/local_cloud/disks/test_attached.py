"""Instance-store disks in instances: discovery, partitions, mounts, blank after a stop. Needs an engine and root."""

from __future__ import annotations

import pytest

from local_cloud import cloud as local_cloud

pytestmark = pytest.mark.docker

BY_ID = "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS"
THREE_PARTITIONS = "label: gpt\nsize=600MiB\nsize=600MiB\n,\n"


@pytest.fixture(scope="module")
def disk_cloud(shared_cloud):
    status = local_cloud.status(shared_cloud.root)
    if not status.disks:
        pytest.skip(f"this machine attaches no disks: {status.disks_reason}")
    return shared_cloud


def _disks(cloud, instance):
    return cloud.ssh(instance, f"ls -d {BY_ID}* 2>/dev/null | grep -v part | sort").split()


def _partition(cloud, helpers, instance, disk, count=3):
    cloud.ssh(instance, f"sudo sfdisk --quiet {disk}", stdin=THREE_PARTITIONS)
    helpers.wait_until(
        lambda: len(cloud.ssh(instance, f"ls {disk}-part* 2>/dev/null", check=False).split()) == count,
        "the partitions have links",
    )


def test_an_instance_has_the_disks_of_its_type(disk_cloud):
    assert _count(disk_cloud, "t3.micro") == 0
    assert _count(disk_cloud, "i4i.8xlarge") == 2


def _count(cloud, instance_type):
    instance = cloud.launch_running(instance_type=instance_type)
    links = cloud.ssh(instance, f"ls -d {BY_ID}* 2>/dev/null; true").split()
    nodes = cloud.ssh(instance, "ls /dev/nvme* 2>/dev/null; true").split()
    assert nodes == [f"/dev/nvme{k}n1" for k in range(1, len(links) + 1)]
    sizes = cloud.ssh(
        instance, "for d in /dev/nvme*n1; do test -b $d && sudo blockdev --getsize64 $d; done; true"
    ).split()
    assert all(int(size) == 2 * 1024**3 for size in sizes)
    cloud.ec2.terminate_instances(InstanceIds=[instance])
    return len(links)


def test_partitions_have_nodes_and_links_until_a_stop(disk_cloud, helpers):
    instance = disk_cloud.launch_running(instance_type="i4i.large")
    (disk,) = _disks(disk_cloud, instance)
    _partition(disk_cloud, helpers, instance, disk)
    assert disk_cloud.ssh(instance, f"readlink -f {disk}-part2").strip() == "/dev/nvme1n1p2"
    # The links by partition id have the ids that sfdisk reports.
    reported = (
        disk_cloud.ssh(instance, f"sudo sfdisk --dump {disk} | grep -o 'uuid=[0-9A-F-]*' | cut -d= -f2").lower().split()
    )
    links = disk_cloud.ssh(instance, "ls /dev/disk/by-partuuid").split()
    assert sorted(links) == sorted(reported)

    disk_cloud.ssh(instance, f"sudo mkfs.xfs -q {disk}-part1 && sudo mount {disk}-part1 /mnt")
    disk_cloud.ssh(instance, "echo data | sudo tee /mnt/file && sudo umount /mnt")
    disk_cloud.ssh(instance, f"echo raw | sudo dd of={disk}-part2 conv=fsync status=none")

    before = disk_cloud.boot_id(instance)
    disk_cloud.ec2.reboot_instances(InstanceIds=[instance])
    helpers.wait_until(lambda: disk_cloud.boot_id(instance) not in ("", before), "the instance has rebooted")
    helpers.wait_until(lambda: disk_cloud.ssh(instance, f"ls {disk}-part3", check=False), "the partitions are back")
    disk_cloud.ssh(instance, f"sudo mount {disk}-part1 /mnt")
    assert disk_cloud.ssh(instance, "cat /mnt/file") == "data\n"

    disk_cloud.ec2.stop_instances(InstanceIds=[instance])
    disk_cloud.wait_state(instance, "stopped")
    disk_cloud.ec2.start_instances(InstanceIds=[instance])
    disk_cloud.wait_state(instance, "running")
    disk_cloud.wait_ssh(instance)
    (fresh,) = _disks(disk_cloud, instance)
    assert fresh != disk, "a new disk has a new serial"
    assert disk_cloud.ssh(instance, "ls -d /dev/disk/by-partuuid/* /dev/nvme*p* 2>/dev/null; true").strip() == ""
    assert disk_cloud.ssh(instance, f"sudo head -c 700M {fresh} | tr -d '\\0' | wc -c").strip() == "0"
    _partition(disk_cloud, helpers, instance, fresh)


def test_a_new_table_replaces_the_nodes(disk_cloud, helpers):
    instance = disk_cloud.launch_running(instance_type="i4i.large")
    (disk,) = _disks(disk_cloud, instance)
    _partition(disk_cloud, helpers, instance, disk)
    disk_cloud.ssh(instance, f"sudo sfdisk --quiet --wipe always {disk}", stdin="label: gpt\n,\n")
    helpers.wait_until(
        lambda: disk_cloud.ssh(instance, "ls /dev/nvme*p*", check=False).split() == ["/dev/nvme1n1p1"],
        "only the new partition remains",
    )
    size = int(disk_cloud.ssh(instance, f"sudo blockdev --getsize64 {disk}-part1"))
    assert size > 1.9 * 1024**3


def test_an_instance_sees_no_other_disks(disk_cloud):
    instance = disk_cloud.launch_running(instance_type="i4i.large")
    nodes = disk_cloud.ssh(instance, "find /dev -type b").split()
    assert nodes == ["/dev/nvme1n1"]
    assert disk_cloud.ssh(instance, "sudo mknod /root/any b 7 0", check=False) == ""
    assert disk_cloud.ssh(instance, "test ! -e /root/any && echo none") == "none\n"


def test_termination_removes_the_disks(disk_cloud, helpers):
    instance = disk_cloud.launch_running(instance_type="i4i.large")
    (disk,) = _disks(disk_cloud, instance)
    _partition(disk_cloud, helpers, instance, disk)
    disk_cloud.ssh(instance, f"sudo mkfs.xfs -q {disk}-part1 && sudo mount {disk}-part1 /mnt")
    assert instance in helpers.traces(disk_cloud.root)["loops"]
    disk_cloud.ec2.terminate_instances(InstanceIds=[instance])
    disk_cloud.wait_state(instance, "terminated")
    assert instance not in helpers.traces(disk_cloud.root)["loops"]
    assert not (disk_cloud.root / ".pegasus/local-cloud/disks" / instance).exists()
