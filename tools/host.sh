# shellcheck shell=bash
# What the host must have for ./dev: Debian packages, a Python environment, libvirt. Sourced by ./dev.

readonly PACKAGES=(
    libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils ovmf docker-registry   # what hyperd runs
    bzip2 iproute2 iputils-ping libgcrypt20 nftables xz-utils zstd
    python3-venv python3-dev gcc pkg-config libvirt-dev                                     # libvirt-python's build
    busybox-static dosfstools fdisk genisoimage grub-common grub-efi-amd64-bin grub-pc-bin  # the guest image
    kmod mtools xorriso
    buildah cpio curl etcd-server hyperfine mmdebstrap shellcheck skopeo tcpdump udhcpc     # tests and benchmarks
    umoci
    util-linux xfsprogs
    containerd containernetworking-plugins iptables runc                                    # nodes of a cluster
)

as_root() {
    [[ $EUID -eq 0 ]] || die "This needs root: sudo ./dev $*"
}

prepare() {
    install_packages
    install_python
}

install_packages() {
    local -a missing=()
    local package present
    # dpkg-query fails when it has never heard of one of them, which is why we ask.
    present="$({ dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null || true; } |
        sed -n 's/^ii *//p')"
    for package in "${PACKAGES[@]}"; do
        grep -qx "$package" <<<"$present" || brought_otherwise "$package" || missing+=("$package")
    done
    if [[ ${#missing[@]} -eq 0 ]]; then
        step "Debian packages: all there"
        return
    fi
    as_root "(to install ${missing[*]})"
    step "Debian packages: installing ${missing[*]}"
    # hyperd and the tests run their own; the packages' services must not start beside them.
    if systemd; then
        [[ " ${missing[*]} " != *" docker-registry "* ]] || systemctl mask --quiet docker-registry.service
        [[ " ${missing[*]} " != *" etcd-server "* ]] || systemctl mask --quiet etcd.service
        [[ " ${missing[*]} " != *" containerd "* ]] || systemctl mask --quiet containerd.service
    fi
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-update apt-get update
    quietly apt-install apt-get install -y --no-install-recommends "${missing[@]}"
}

# Docker's own packages bring these too, and apt would remove Docker for Debian's.
brought_otherwise() {
    [[ $1 == containerd || $1 == runc ]] && command -v "$1" >/dev/null
}

install_python() {
    local python stamp
    python="$(find_python)"
    stamp="$({ "$python" --version && cat "$ROOT/pyproject.toml"; } | sha256sum)"
    if [[ -r $VENV/.stamp && "$(<"$VENV/.stamp")" == "$stamp" ]]; then
        step "Python environment: up to date"
        return
    fi
    step "Python environment: $VENV with $("$python" --version)"
    [[ -x $VENV/bin/python ]] || quietly venv "$python" -m venv "$VENV"
    quietly pip "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off --editable "${ROOT}[dev]"
    printf '%s' "$stamp" >"$VENV/.stamp"
}

find_python() {
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed; run: apt-get install python3"
}

systemd() {
    [[ -d /run/systemd/system ]]
}

libvirt_answers() {
    timeout 20 virsh --quiet --connect qemu:///system uri >/dev/null 2>&1
}

start_libvirt() {
    allow_kvm
    if libvirt_answers; then
        step "libvirt: answers"
        return
    fi
    if systemd; then
        step "libvirt: starting its services"
        systemctl start virtlogd.socket libvirtd.service
    else
        step "libvirt: no systemd here, so virtlogd and libvirtd start as plain processes"
        local name
        mkdir -p /run/libvirt
        for name in virtlogd libvirtd; do
            # By pid file: other mount namespaces may have daemons of the same name.
            if ! [[ -r /run/$name.pid && -e /proc/$(<"/run/$name.pid")/exe ]]; then
                "$name" --daemon --pid-file "/run/$name.pid"
                remember "$name" "$(<"/run/$name.pid")"
            fi
        done
    fi
    local until=$((SECONDS + 90))
    until libvirt_answers; do
        [[ $SECONDS -lt $until ]] || die "libvirtd does not answer; see its log, or run it by hand: libvirtd --verbose"
        sleep 0.2
    done
}

# QEMU runs as libvirt-qemu, a member of the group kvm. When it cannot open the device, libvirt tries for a
# minute at each start.
allow_kvm() {
    [[ -c /dev/kvm ]] || return 0
    if [[ "$(stat -c '%G %a' /dev/kvm)" != "kvm 66"[06] ]]; then
        say "/dev/kvm gets group kvm and mode 660 (it had $(stat -c '%U:%G %a' /dev/kvm)), so that QEMU's user may open it"
        chgrp kvm /dev/kvm
        chmod 660 /dev/kvm
    fi
}
