"""``hv ansible-inventory``: the machines that run, for Ansible, which reaches them through the home's API."""

from __future__ import annotations

import argparse
import re
import shlex
import sys

from hyperd.cli.options import client_of, target
from hyperd.cli.printing import document, emit, json_text
from hyperd.client import kinds, sanitize
from hyperd.client.shapes import mapping
from hyperd.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv ansible-inventory                          of all namespaces; -n shop of one
  hv ansible-inventory --host web-7.shop        one machine's variables
  hv ansible-inventory -o ini > hosts
  ansible all -i inventory.sh -m ping           where inventory.sh is: exec hv ansible-inventory "$@"

A machine that runs and has an address is the host NAME.NAMESPACE. Its groups are in the annotation
ansible.deckhouse.io/groups, separated by commas, its variables in vars.ansible.deckhouse.io/NAME. ssh goes through
`hv port-forward`, so that no route to the machine is needed.
"""
_GROUPS = "ansible.deckhouse.io/groups"
_VARIABLES = "vars.ansible.deckhouse.io/"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
"""What Ansible takes for a group or a variable."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@-]+\Z")
_OWN = frozenset(("user", "port", "python_interpreter", "become", "become_user", "become_method", "shell_type"))
"""Of the variables that Ansible itself acts on those that are about the machine, without ``ansible_``."""
_TEMPLATES = ("{{", "{%", "{#")
"""What Ansible would work out on the host that it runs on."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--list", action="store_true", help="all of them (default)")
    which.add_argument("--host", default="", metavar="NAME", help="one machine's variables: NAME.NAMESPACE")
    parser.add_argument("-o", "--output", choices=("json", "yaml", "ini"), default="json", help="form of output")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    client = client_of(args)
    machines = kinds.resolve("vm", client)[0]
    if args.host:
        namespace, name = target(args.host, args, client.home)
        found = _host(client.get(machines, namespace, name), args)
        if found is None:
            raise NotFound(f"The machine {name} does not run, or has no address.")
        emit([json_text(found[1])] if args.output != "yaml" else document(found[1], "yaml").splitlines())
        return 0
    listed = client.list(machines, args.namespace or None).get("items") or ()
    hosts = dict(filter(None, (_host(item, args) for item in listed)))
    groups: dict[str, list[str]] = {}
    for item in listed:
        host = _name(item)
        for group in _words(_annotations(item).get(_GROUPS)) if host in hosts else ():
            groups.setdefault(group, []).append(host)
    emit(_FORMS[args.output](hosts, groups))
    return 0


def _name(item: Object) -> str:
    metadata = mapping(item.get("metadata"))
    return f"{metadata.get('name')}.{metadata.get('namespace')}"


def _annotations(item: Object) -> Object:
    return mapping(mapping(item.get("metadata")).get("annotations"))


def _host(item: Object, args: argparse.Namespace) -> tuple[str, Object] | None:
    """Its name and variables; None for one that cannot be reached."""
    status = mapping(item.get("status"))
    address = status.get("ipAddress")
    if status.get("phase") != "Running" or not isinstance(address, str) or not address:
        return None
    variables: Object = {"ansible_host": address, "ansible_ssh_common_args": _proxy(_name(item), args)}
    for key, value in _annotations(item).items():
        name = key.removeprefix(_VARIABLES)
        if not key.startswith(_VARIABLES):
            continue
        if _WORD.match(name) and _is_theirs(name) and not any(sign in str(value) for sign in _TEMPLATES):
            variables[name] = str(value)
        else:
            print(sanitize.line(f"Warning: {_name(item)}: {key} is left out."), file=sys.stderr)
    return _name(item), variables


def _is_theirs(name: str) -> bool:
    """Whether who writes annotations may say it: not where Ansible connects to, nor by which program."""
    return not name.startswith("ansible_") or name.removeprefix("ansible_") in _OWN


def _proxy(host: str, args: argparse.Namespace) -> str:
    words = ["hv", "port-forward", host, "--stdio", "%p"]
    for flag in ("socket", "kubeconfig", "context"):
        if value := getattr(args, flag):
            words.append(f"--{flag}={value}")
    return f"-o ProxyCommand={shlex.quote(shlex.join(words))}"


def _words(text: object) -> list[str]:
    words = [word.strip() for word in str(text or "").split(",")]
    return [word for word in dict.fromkeys(words) if _WORD.match(word) and word not in ("all", "ungrouped")]


def _json(hosts: dict[str, Object], groups: dict[str, list[str]]) -> list[str]:
    grouped = {host for names in groups.values() for host in names}
    found: Object = {"_meta": {"hostvars": hosts}, "all": {"children": ["ungrouped", *groups]}}
    found["ungrouped"] = {"hosts": [host for host in hosts if host not in grouped]}
    found.update({group: {"hosts": names} for group, names in groups.items()})
    return [json_text(found)]


def _yaml(hosts: dict[str, Object], groups: dict[str, list[str]]) -> list[str]:
    children: Object = {group: {"hosts": {name: {} for name in names}} for group, names in groups.items()}
    return document({"all": {"hosts": hosts, "children": children}}, "yaml").splitlines()


def _ini(hosts: dict[str, Object], groups: dict[str, list[str]]) -> list[str]:
    """Values as Ansible reads them there: a literal of Python's."""
    lines = []
    for host, variables in hosts.items():
        lines.append(" ".join([host, *(f"{key}={_literal(str(value))}" for key, value in variables.items())]))
    for group, names in groups.items():
        lines += ["", f"[{group}]", *names]
    return lines


def _literal(value: str) -> str:
    return value if _PLAIN.match(value) else shlex.quote(repr(value))


_FORMS = {"json": _json, "yaml": _yaml, "ini": _ini}
