#!/bin/sh
# Makes what a node sees its own, in the namespaces that it was started in, and then is the node's first process.
#   init.sh FOLDER NAME PROGRAMS [kvm]
set -e
folder=$1 name=$2 programs=$3 kvm=$4

hostname "$name"
mount -t proc proc /proc
mount -t sysfs sysfs /sys

# A cgroup namespace roots new mounts of each hierarchy at this process's own cgroup, so kubelet, containerd and
# libvirt find an empty tree as on a machine of their own.
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
sed 's/^[0-9]*://; s/:.*//' /proc/self/cgroup | while read -r controllers; do
    case $controllers in
    '') kind=cgroup2 options=rw at=unified ;;
    name=*) kind=cgroup options=none,$controllers at=${controllers#name=} ;;
    *) kind=cgroup options=$controllers at=$controllers ;;
    esac
    mkdir "/sys/fs/cgroup/$at"
    mount -t "$kind" -o "$options" cgroup "/sys/fs/cgroup/$at"
done

# kubelet sets these for the whole machine. Here it finds them as it wants them, so the machine's stay.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$folder/sysctl/$(echo "${setting%=*}" | tr / .)
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done

mount --bind "$programs" "$folder/run/programs"
cat /proc/sys/kernel/random/uuid >"$folder/boot-id"
mount --bind "$folder/boot-id" /proc/sys/kernel/random/boot_id
# A KVM that QEMU cannot use keeps libvirt waiting for a minute, so there is none then.
if [ -z "$kvm" ] && [ -e /dev/kvm ]; then
    mkdir "$folder/dev"
    mount -t tmpfs -o mode=755 tmpfs "$folder/dev"
    find /dev -mindepth 1 -maxdepth 1 ! -type d ! -type s ! -name kvm -exec cp -a -t "$folder/dev" {} +
    for device in $(find /dev -mindepth 1 -maxdepth 1 -type d -printf '%f '); do
        mkdir "$folder/dev/$device"
        mount --rbind "/dev/$device" "$folder/dev/$device"
    done
    mount --move "$folder/dev" /dev
fi
[ ! -e /etc/machine-id ] || mount --bind "$folder/machine-id" /etc/machine-id
[ ! -e /etc/hosts ] || mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/etc-libvirt" /etc/libvirt
mount --rbind "$folder/run" /run
mount --bind "$folder/var" /var

# Pods may ask for mounts to pass from the node to them.
mount --make-rshared /
ip link set lo up
: >/run/node
exec /run/programs/pause
