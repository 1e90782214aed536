#!/bin/sh
# PID 1 of the virtual machine of tools/vm-test.sh: what an init does that the tests need, then the job.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
repo='' cgroup='' # and "$@": the job says what they are
# shellcheck disable=SC1091 # made by vm-test.sh
. /mnt/job
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
chmod 1777 /tmp /dev/shm
if [ "$cgroup" = 2 ]; then
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup # systemd's options
    # As with systemd, no process of ours stays in the top group.
    mkdir /sys/fs/cgroup/job
    echo $$ >/sys/fs/cgroup/job/cgroup.procs
else
    mount -t tmpfs cgroup /sys/fs/cgroup
    for name in memory cpu pids freezer; do
        mkdir /sys/fs/cgroup/$name
        mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name
    done
fi
ip link set lo up
ip link set eth0 up && ip address add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2
# Else the first `nft` waits for them, longer than the product lets it.
modprobe -a loop unix_diag veth bridge nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_fib_inet 2>/dev/null
hostname vm
cd "$repo" || exit 1
echo "== $(uname -r), control groups of version $cgroup"
# A session of its own: PID 1 ignores what it has no handler for, and so would what it starts.
setsid "$@" </dev/null 2>&1
echo $? >/mnt/status
sync
echo b >/proc/sysrq-trigger
sleep 10
