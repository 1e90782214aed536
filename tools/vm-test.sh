#!/bin/sh
# make vm-test: tests on another kernel, in a virtual machine: by default Debian's own, with version 2 of control
# groups. Its root is this machine's, read-only, below a disk of its own; nothing written there is kept.
#   tools/vm-test.sh [COMMAND...]    run in the checkout instead of the tests; T='...' is what pytest is given
#   KERNEL  the package of the kernel (linux-image-amd64);  CGROUP=1  version 1;  CPUS, MEMORY  2, 6G;
#   LIMIT   seconds until it is given up (7200)
set -eu
cd "$(dirname "$0")/.."
repo=$(pwd -P)
kernel=${KERNEL:-linux-image-amd64}
work=build-vm/$kernel
for need in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static depmod:kmod mkfs.ext4:e2fsprogs; do
    PATH=$PATH:/usr/sbin command -v "${need%%:*}" >/dev/null || missing="${missing-} ${need#*:}"
done
[ -z "${missing-}" ] || { echo "vm-test needs: sudo apt-get install -y$missing" >&2; exit 1; }
# A /dev/kvm without the processor's help emulates foreign kernels one instruction at a time: QEMU does it faster.
if [ -w /dev/kvm ] && { [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; }; then
    accel="-accel kvm -cpu host" slow=1
else
    accel="-accel tcg,thread=multi,tb-size=1024 -cpu max" slow=10
    echo "no /dev/kvm with the processor's help: the machine is emulated, ten to twenty times slower" >&2
fi
PATH=$PATH:/usr/sbin

# The kernel, unpacked, not installed.
if [ ! -e "$work/ready" ]; then
    rm -rf "$work"
    mkdir -p "$work"
    case $kernel in
    linux-image-[0-9]*) package=$kernel ;;
    *) package=$(apt-cache depends "$kernel" | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1) ;;
    esac
    (cd "$work" && apt-get download "$package" >apt.log 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
    dpkg-deb -x "$work"/linux-image-*.deb "$work/root"
    rm "$work"/linux-image-*.deb
    [ -d "$work/root/lib/modules" ] || ln -s usr/lib "$work/root/lib"
    depmod -b "$work/root" "$(ls "$work/root/lib/modules")"
    touch "$work/ready"
fi
version=$(ls "$work/root/lib/modules")

# An initial file system that mounts the real one.
run=$(mktemp -d build-vm/run.XXXXXX)
machine=
trap '[ -z "$machine" ] || { kill $machine; wait $machine; }; rm -rf "$run"' EXIT
trap 'exit 1' INT TERM HUP
mkdir -p "$run/initrd/bin" "$run/out"
cp "$(command -v busybox)" "$run/initrd/bin/busybox"
for module in virtio_pci virtio_blk virtio_net 9p 9pnet_virtio overlay ext4; do
    modprobe -d "$work/root" -S "$version" -D "$module" 2>/dev/null
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$run/modules"
while read -r file; do
    cp "$file" "$run/initrd/"
    echo "insmod /$(basename "$file")"
done <"$run/modules" >"$run/initrd/load"
cat >"$run/initrd/init" <<END
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /dev /lower /disk /new
mount -t devtmpfs dev /dev
. /load
mount -t ext4 /dev/vda /disk
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 root /lower
mkdir -p /disk/work /disk/upper /disk/tmp
mount -t overlay -o lowerdir=/lower,upperdir=/disk/upper,workdir=/disk/work none /new
mount --move /dev /new/dev
mkdir -p /new/lib/modules /new/tmp /new/mnt
mount --bind /disk/tmp /new/tmp
mount --bind "/lower/$repo/$work/root/lib/modules" /new/lib/modules
mount -t 9p -o trans=virtio,version=9p2000.L out "/new/mnt"
exec switch_root /new /bin/sh "$repo/tools/vm-init.sh"
END
chmod +x "$run/initrd/init"
(cd "$run/initrd" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$run/initrd.gz"
truncate -s 24G "$run/disk"
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$run/disk"

# What it runs. What is read first over 9p is slow, and the product's own limits of time are short.
tests=${T:-tests/sandbox/test_launcher.py tests/sandbox/test_template.py tests/sandbox/test_function_template.py
    tests/sandbox/test_function_leftovers.py tests/sandbox/test_function_attacks.py
    tests/e2e/test_cgroup2.py tests/e2e/test_lifecycle.py tests/e2e/test_kill.py tests/e2e/test_escape.py
    tests/e2e/test_snapstart.py}
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2016 # expanded by the inner shell
    set -- sh -c 'status=0
        nft list tables; node -e 1; python3 -c "import asyncio"
        for suite in sandbox e2e; do
            here=
            for test in $0; do case $test in tests/$suite*) here="$here $test" ;; esac; done
            [ -z "$here" ] || .venv/bin/python -m pytest -p no:cacheprovider -v -rfEs --tb=short $here || status=1
        done
        exit $status' "$tests"
fi
{
    echo "repo='$repo' cgroup=${CGROUP:-2}"
    echo "export IRORI_BUILD='${BUILD:-build}' IRORI_SLOW=$slow"
    printf "set --"
    for word; do printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done
    echo
} >"$run/out/job"

# shellcheck disable=SC2086 # words
timeout --foreground -k 5 "${LIMIT:-7200}" qemu-system-x86_64 $accel -smp "${CPUS:-2}" -m "${MEMORY:-6G}" \
    -kernel "$work"/root/boot/vmlinuz-* -initrd "$run/initrd.gz" -append "console=ttyS0 loglevel=3 panic=-1" \
    -no-reboot -display none -monitor none -serial stdio -nic user,model=virtio-net-pci \
    -drive "file=$run/disk,if=virtio,format=raw,cache=unsafe" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=out,path=$run/out,security_model=none" \
    -device virtio-9p-pci,fsdev=out,mount_tag=out </dev/null &
machine=$!
wait $machine || echo "the machine ended with status $?" >&2
machine=
exit "$(cat "$run/out/status" 2>/dev/null || echo 1)"
