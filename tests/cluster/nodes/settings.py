"""What a node's programs are configured with; every path is as the node sees it."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.cluster.nodes.images import PAUSE

CONTAINERD = """
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where the machine's root may not lower it (no CAP_SYS_RESOURCE), no container would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/var/lib/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
""".replace("{pause}", PAUSE)


def kubelet(address: str, *, reserved: dict[str, str]) -> str:
    """Of a node of this address. ``reserved`` is what of the machine is not for its Pods."""
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": "/var/lib/kubelet/pki/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "address": address,
            "tlsCertFile": "/var/lib/kubelet/pki/kubelet.crt",
            "tlsPrivateKeyFile": "/var/lib/kubelet/pki/kubelet.key",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "clusterDNS": [],
            "resolvConf": "",
            "systemReserved": reserved,
            "volumePluginDir": "/var/lib/kubelet/volumeplugins",
            "imageGCHighThresholdPercent": 99,
            "imageGCLowThresholdPercent": 98,
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
            "nodeStatusUpdateFrequency": "5s",
            "nodeLeaseDurationSeconds": 12,
            "serializeImagePulls": False,
        }
    )


def kube_proxy(node: str, pods: str) -> str:
    """``pods`` is the range of all Pods."""
    untouched = {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"}
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig"},
            "hostnameOverride": node,
            "clusterCIDR": pods,
            "nodePortAddresses": ["primary"],
            "conntrack": untouched,
        }
    )


def cni(pods: str) -> str:
    """The node's Pods on a bridge, with addresses of ``pods``, the node's own range."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return json.dumps(
        {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge | {"ipam": addresses}, ports]}, indent=1
    )


def kubeconfig(server: str, *, authority: str, certificate: str, key: str) -> str:
    """Paths of PEM files, for the account that they belong to."""
    return _yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "nodes", "cluster": {"server": server, "certificate-authority": authority}}],
            "users": [{"name": "user", "user": {"client-certificate": certificate, "client-key": key}}],
            "contexts": [{"name": "nodes", "context": {"cluster": "nodes", "user": "user"}}],
            "current-context": "nodes",
        }
    )


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False)
