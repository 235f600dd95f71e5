"""The configuration of a real node: its addresses, and the files of its daemons.

Pure: each function returns the content of one file. Paths are those inside the node's mount
namespace (see `realnode_guard`), where `NODE` is the node's directory, so they are the same for
every cluster and short enough for the 107 characters of a Unix socket's name.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Any

# RFC 2544 sets 198.18.0.0/15 aside for tests inside one's own network: no machine routes it.
NETWORK = "198.19.0.0/16"
HOST_ADDRESS = "198.19.255.1"
"""The machine's end of the link to every node; API servers are reached here."""
HOST_LINKS = "trnode"
"""How the names of these links begin on the machine's side."""
POD_LINKS = "veth"
"""How the names of the pods' links begin on the node (chosen by the CNI plug-in)."""

NODE = "/run/node"
CONTAINERD_SOCKET = f"{NODE}/containerd.sock"
PAUSE_IMAGE = "taskrunner.dev/testbed/pause:1"


@dataclass(frozen=True)
class Place:
    """One of the places for nodes on a machine: what two nodes at once must not share.

    Attributes:
        number: from 0 to `PLACES` - 1.
    """

    number: int

    @property
    def cgroup(self) -> str:
        """The control group of everything on the node; a sweep finds leftovers by it."""
        return f"taskrunner-testbed-node-{self.number}"

    @property
    def host_link(self) -> str:
        """The name of the link on the machine's side."""
        return f"{HOST_LINKS}{self.number}"

    @property
    def address(self) -> str:
        """The node's InternalIP."""
        return f"198.19.255.{self.number + 2}"

    @property
    def pod_cidr(self) -> str:
        return f"198.19.{self.number}.0/24"


PLACES = 8

KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""What the kubelet sets at its start (pkg/kubelet/cm, setupKernelTunables), below /proc/sys."""

# containerd would try each of these in vain and log why.
_DISABLED_PLUGINS = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
]


def containerd(cni_dir: str) -> str:
    """containerd's configuration, version 2 (read by 1.6 and 1.7, converted by 2.x).

    `restrict_oom_score_adj` is for machines where even root may not lower a process's score;
    there every pod would fail to start without it.
    """
    return f"""\
version = 2
root = "{NODE}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps(_DISABLED_PLUGINS)}

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "{NODE}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_dir}"
conf_dir = "{NODE}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def cni(place: Place) -> str:
    """The pod network: a link of its own for each pod, with an address of the place's.

    `ptp` rather than `bridge`: pods that reach each other through a Service then always pass the
    node's rules, which on a bridge takes the kernel module br_netfilter. Nothing is masqueraded:
    pods reach the machine (which has a route back) and each other, and nothing beyond.
    """
    link = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": place.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return _json({"cniVersion": "0.4.0", "name": "testbed", "plugins": [link]})


def kubelet(place: Place) -> str:
    """The KubeletConfiguration.

    Eviction and image collection are off: a nearly full disk must not delete the images that
    were imported, as no registry could give them back.
    """
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{NODE}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{NODE}/kubelet.crt",
            "tlsPrivateKeyFile": f"{NODE}/kubelet.key",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{place.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "evictionHard": {
                "imagefs.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "clusterDNS": ["127.0.0.1"],
            "resolvConf": f"{NODE}/resolv.conf",
            "volumePluginDir": f"{NODE}/kubelet/volume-plugins",
        }
    )


def kube_proxy(place: Place) -> str:
    """The KubeProxyConfiguration: nftables, and conntrack limits left as the machine has them."""
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": f"{NODE}/kube-proxy.kubeconfig"},
            "clusterCIDR": place.pod_cidr,
            "conntrack": {"maxPerCore": 0},
            "detectLocalMode": "InterfaceNamePrefix",
            "detectLocal": {"interfaceNamePrefix": POD_LINKS},
        }
    )


def overlapping(used: str) -> bool:
    """Whether a network of the machine (such as `10.0.0.0/8`) overlaps with the nodes'."""
    network = ipaddress.ip_network(used, strict=False)
    if network.version != 4 or network.prefixlen == 0:
        return False
    return network.overlaps(ipaddress.ip_network(NETWORK))


def _json(value: dict[str, Any]) -> str:
    # Kubernetes reads JSON wherever it reads YAML.
    return json.dumps(value, indent=2) + "\n"
