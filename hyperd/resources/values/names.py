"""Every finalizer, annotation and label that our controllers and users meet, in one place.

They are part of the API: a name that changes here orphans what an older daemon wrote.
"""

from __future__ import annotations

GROUP = "virtualization.deckhouse.io"
VERSION = "v1alpha2"
API_VERSION = f"{GROUP}/{VERSION}"
SUBRESOURCE_GROUP = f"subresources.{GROUP}"
CATEGORY = "virtualization"
CLUSTER_CATEGORY = "virtualization-cluster"

SYSTEM_NAMESPACE = "hyperd-system"
"""Where hyperd itself lives in a cluster."""
API_SERVICE = "hyperd-api"
"""The Service through which a cluster's API server reaches hyperd: webhooks and the aggregated API."""
CA_SECRET = "hyperd-ca"  # noqa: S105  the name of one
"""The Secret with the CA that all hyperds of a cluster show certificates of."""
CONVERSION_PATH = "/convert"
MUTATION_PATH = "/mutate"
VALIDATION_PATH = "/validate"
"""Where a cluster's API server asks: conversion of objects, defaulting, judgement."""

VM_CLEANUP = f"{GROUP}/vm-cleanup"
VM_CLASS_CLEANUP = f"{GROUP}/vm-cleanup"
"""The reference puts the VM's finalizer on classes too; objects move between homes, so we keep it."""
VD_CLEANUP = f"{GROUP}/vd-cleanup"
VI_CLEANUP = f"{GROUP}/vi-cleanup"
CVI_CLEANUP = f"{GROUP}/cvi-cleanup"
VMIP_CLEANUP = f"{GROUP}/vmip-cleanup"
VMIPL_CLEANUP = f"{GROUP}/vmipl-cleanup"
VMOP_CLEANUP = f"{GROUP}/vmop-cleanup"
VMBDA_CLEANUP = f"{GROUP}/vmbda-cleanup"
VMMAC_CLEANUP = f"{GROUP}/vmmac-cleanup"
VMMACL_CLEANUP = f"{GROUP}/vmmacl-cleanup"
VMSOP_CLEANUP = f"{GROUP}/vmsop-cleanup"
VDSNAPSHOT_CLEANUP = f"{GROUP}/vdsnapshot-cleanup"
VMSNAPSHOT_CLEANUP = f"{GROUP}/vmsnapshot-cleanup"
"""Ours: the reference leaves the machine's snapshot to its disks'."""
NODE_USB_DEVICE_CLEANUP = f"{GROUP}/nodeusbdevice-cleanup"
USB_DEVICE_CLEANUP = f"{GROUP}/usbdevice-cleanup"

VD_PROTECTION = f"{GROUP}/vd-protection"
VI_PROTECTION = f"{GROUP}/vi-protection"
CVI_PROTECTION = f"{GROUP}/cvi-protection"
VMIP_PROTECTION = f"{GROUP}/vmip-protection"
POD_PROTECTION = f"{GROUP}/pod-protection"
PVC_PROTECTION = f"{GROUP}/pvc-protection"
VDSNAPSHOT_PROTECTION = f"{GROUP}/vdsnapshot-protection"
VMSNAPSHOT_PROTECTION = f"{GROUP}/vmsnapshot-protection"
VMOP_PROTECTION_BY_EVACUATION = f"{GROUP}/vmop-protection-by-evacuation-controller"
VMOP_PROTECTION_BY_VM = f"{GROUP}/vmop-protection-by-vm-controller"

DEFAULT_CLASS_ANNOTATION = f"virtualmachineclass.{GROUP}/is-default-class"
DEFAULT_STORAGE_CLASS_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
STORAGE_CLASS_VOLUME_MODE_ANNOTATION = f"virtualdisk.{GROUP}/volume-mode"
STORAGE_CLASS_ACCESS_MODE_ANNOTATION = f"virtualdisk.{GROUP}/access-mode"
STORAGE_CLASS_BINDING_MODE_ANNOTATION = f"virtualdisk.{GROUP}/binding-mode"
LAZY_ANNOTATION = f"virtualdisk.{GROUP}/lazy"
"""Ours. On a StorageClass "true" or "false": whether its disks may be used before their image is on the node. On a
VirtualDisk "false"."""
SELECTED_NODE_ANNOTATION = "volume.kubernetes.io/selected-node"
"""Kubernetes' own word for the node that a claim's volume is made on; here it stands on a VirtualDisk."""
DATA_EXPORT_ANNOTATION = "storage-foundation.deckhouse.io/data-export-request"

VM_START_REQUESTED_ANNOTATION = f"{GROUP}/vm-start-requested"
VM_RESTART_REQUESTED_ANNOTATION = f"{GROUP}/vm-restart-requested"
VM_RESTORE_POWER_STATE_ANNOTATION = f"{GROUP}/restore-power-state"
VMOP_RESTORE_ANNOTATION = f"{GROUP}/vmoprestore"
"""uid of the operation that made, or made again, what carries it."""
VMOP_EVACUATION_ANNOTATION = f"{GROUP}/evacuation"
VMOP_VOLUME_MIGRATION_ANNOTATION = f"{GROUP}/volume-migration"
VMOP_WORKLOAD_UPDATE_ANNOTATION = f"{GROUP}/workload-update"

POOL_LABEL = f"vmpool.{GROUP}/pool"
"""Name of the pool that a machine or disk belongs to, for people."""
POOL_UID_LABEL = f"vmpool.{GROUP}/pool-uid"
"""uid of that pool: what selects its machines and disks."""
POOL_TEMPLATE_HASH_LABEL = f"vmpool.{GROUP}/template-hash"
"""On a machine of a pool: the template that it runs by."""
POOL_DISK_TEMPLATE_LABEL = f"vmpool.{GROUP}/disk-template"
POOL_PATCHED_HASH_ANNOTATION = f"vmpool.{GROUP}/patched-template-hash"
"""On a machine of a pool: the template that its spec has, which may wait for a restart."""
POOL_FREE_SINCE_ANNOTATION = f"vmpool.{GROUP}/free-since"
POOL_LEAVING_ANNOTATION = f"vmpool.{GROUP}/scale-down-with"
"""Ours. On a pool: uids of the machines that were named to scaledownwith, written with the lower number."""

VM_UID_LABEL = f"{GROUP}/virtual-machine-uid"
VMIP_UID_LABEL = f"{GROUP}/virtual-machine-ip-address-uid"
VMMAC_UID_LABEL = f"{GROUP}/virtual-machine-mac-address-uid"
VM_POD_NAME_LABEL = f"vm.kubevirt.internal.{GROUP}/name"
POD_CARRIED_ANNOTATION = f"{GROUP}/last-propagated"
"""On a machine's Pod: which labels and annotations it has from the machine."""
POD_MADE_OF_ANNOTATION = f"{GROUP}/made-of"
"""On a machine's Pod: a digest of what it was asked for, another one where the machine needs another Pod."""
POD_PINNED_ANNOTATION = f"{GROUP}/pinned-to"
"""On a machine's Pod: the node of the machine's disks, which it was asked for; empty for any."""
KVM_ENABLED_LABEL = f"{GROUP}/kvm-enabled"
TAKEN_ADDRESSES_ANNOTATION = f"{GROUP}/addresses-without-owner"
"""On a node's Lease: addresses of guests there whose machines the store does not know, joined by commas."""
LEASE_WORD_ANNOTATION = f"{GROUP}/word"
"""On a node's Lease: a word of the node's own, another one at each renewal. See ``controllers/witness.py``."""
NODE_LEASE_LABEL = f"{GROUP}/node"
"""On the Lease by which a hyperd says that it serves the node of that name."""
CPU_MODEL_LABEL_PREFIX = f"cpu-model.node.{GROUP}/"
CPU_FEATURE_LABEL_PREFIX = f"cpu-feature.node.{GROUP}/"
CPU_STAND_IN = "stand-in"
"""Value of such a label where the node emulates and gives guests another processor in the place of this one."""
OPTIONAL_CPU_FEATURES = frozenset({"invtsc", "svm"})
"""Features that a class may name for nodes that lack them."""

CLOUD_INIT_SECRET_TYPE = f"provisioning.{GROUP}/cloud-init"
SYSPREP_SECRET_TYPE = f"provisioning.{GROUP}/sysprep"
CLOUD_INIT_SECRET_KEYS = ("userData", "userdata")
SYSPREP_SECRET_KEYS = ("autounattend.xml", "unattend.xml")

MAX_BLOCK_DEVICES = 16
MAX_CORES = 248
MAX_VM_NAME = 63
MAX_POOL_NAME = 57
"""A machine's name is the pool's, a hyphen and five letters, within ``MAX_VM_NAME``."""
