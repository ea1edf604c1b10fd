"""``hv kubeconfig``: what kubectl and other clients need to reach this hyperd."""

from __future__ import annotations

import argparse
import json
import os
import sys

from hyperd import durable
from hyperd.cli.options import seconds
from hyperd.client.finding import find, kubeconfig_paths
from hyperd.client.home import DEFAULT_NAMESPACE, DEFAULT_SOCKET, Home, local
from hyperd.client.kubeconfig import load, merge, parse, renamed
from hyperd.client.sanitize import line
from hyperd.client.sync import Client
from hyperd.client.yamltext import dump
from hyperd.errors import BadRequest, Forbidden, HyperdError, NotFound
from hyperd.roles import Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv kubeconfig > lab.kubeconfig       the administrator's
  hv kubeconfig --merge                add it to ~/.kube/config (or $KUBECONFIG) as the current context
  hv kubeconfig --role editor -n shop --ttl 30d > shop.kubeconfig      for somebody else, with a token of a role
  KUBECONFIG=lab.kubeconfig kubectl get vm
"""

DEFAULT_FILE = "/var/lib/hyperd/kubeconfig"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--file", default=os.environ.get("HYPERD_STATE_DIR", ""), help="kubeconfig that hyperd wrote"
    )
    parser.add_argument("--as", dest="called", default="", metavar="NAME", help="what to call cluster and context")
    parser.add_argument("--merge", action="store_true", help="merge it into your own kubeconfig")
    parser.add_argument("--role", choices=[role.value for role in Role], help="make a token of this role for it")
    parser.add_argument("--name", default="", help="the token's name (default: the role and some letters)")
    parser.add_argument(
        "--ttl", type=seconds, default=seconds("24h"), metavar="TIME", help="how long the token lasts: 8h, 30d"
    )
    parser.add_argument("--token", default="", help="put this token in, instead of the administrator's key")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="form of output")


def run(args: argparse.Namespace) -> int:
    """Print or merge."""
    document = _for_token(args) if args.role or args.token else _administrators(args)
    if args.called:
        document = renamed(document, args.called)
    if not args.merge:
        sys.stdout.write(json.dumps(document, indent=2) + "\n" if args.output == "json" else dump(document))
        return 0
    paths = kubeconfig_paths(args.kubeconfig)
    existing = [_existing(path) for path in paths]
    path = os.path.realpath(paths[0])
    _write(path, dump(merge(existing[0], document, existing[1:])))
    print(f'Merged into {path}; the current context is "{document.get("current-context", "")}".')
    return 0


def _existing(path: str) -> Object:
    """What is in a file of the user's; nothing where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as err:
        raise BadRequest(f"The kubeconfig {path} is not UTF-8 text; nothing was merged.") from err
    return parse(text, path) if text.strip() else {}


def _for_token(args: argparse.Namespace) -> Object:
    """A kubeconfig of one context whose user is a token: the one given, or one made now."""
    from hyperd.cli.token import request

    where = "" if args.merge else args.kubeconfig
    home = find(socket=args.socket, kubeconfig=where, context=args.context)
    cluster = _cluster(home) if home.tls else _administrators(args)["clusters"][0]
    token, name = args.token, args.name
    if not token:
        name = name or f"{args.role}-{os.urandom(3).hex()}"
        made = request(Client(home), name, role=args.role, namespaces=args.namespace, ttl=args.ttl)
        token = made["status"]["token"]
        print(f'Token "{name}" ends {line(str(made["status"]["expirationTimestamp"]))}.', file=sys.stderr)
    user = name or token.removeprefix("hyperd.").rpartition(".")[0] or "token"
    context = f"{user}@{cluster['name']}"
    inside = {"cluster": cluster["name"], "user": context, "namespace": (args.namespace or [DEFAULT_NAMESPACE])[0]}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [cluster],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": inside}],
    }


def _cluster(home: Home) -> Object:
    """The entry for a home that a kubeconfig names."""
    import base64

    body: Object = {"server": home.where}
    if home.ca:
        body["certificate-authority-data"] = base64.b64encode(home.ca).decode()
    if home.server_name != home.host:
        body["tls-server-name"] = home.server_name
    return {"name": home.name, "cluster": body}


def _administrators(args: argparse.Namespace) -> Object:
    """The file that hyperd wrote; its folder is a setting of the daemon, which another socket does not tell."""
    socket = args.socket or os.environ.get("HYPERD_SOCKET") or DEFAULT_SOCKET
    if "://" in socket and not args.file:
        raise BadRequest(
            f"hyperd keeps its kubeconfig in a file of its host: run hv kubeconfig there, not by {socket}."
        )
    source = args.file or DEFAULT_FILE
    if not args.file and socket != DEFAULT_SOCKET:
        source = _beside(socket)
    if os.path.isdir(source):
        source = os.path.join(source, "kubeconfig")
    try:
        with open(source, encoding="utf-8") as file:
            return parse(file.read(), source)
    except FileNotFoundError as err:
        raise NotFound(
            f"There is no kubeconfig at {source}; hyperd writes it when it starts. Name another with --file."
        ) from err
    except PermissionError as err:
        raise Forbidden(f"You may not read {source}: become root, as it holds an administrator's key.") from err


def _beside(socket: str) -> str:
    """The kubeconfig of the hyperd at ``socket``, from where such folders lie beside each other.

    It counts only when it leads to the same objects. Raises BadRequest that says where was looked.
    """
    run = os.path.dirname(os.path.abspath(socket))
    roots = [os.path.join(os.path.dirname(run), folder) for folder in ("lib", "state", "")]
    roots.append(os.path.join("/var/lib", os.path.basename(run)))
    tried = [os.path.normpath(os.path.join(root, "kubeconfig")) for root in roots]
    wanted = _store_of(local(socket))
    for path in filter(os.path.isfile, tried):
        try:
            if _store_of(load([path]).home()) == wanted:
                return path
        except HyperdError:
            continue
    raise BadRequest(
        f"The kubeconfig of the hyperd at {socket} is at none of {', '.join(tried)}; name it, or the state folder "
        "of that hyperd (state_dir in its settings), with --file."
    )


def _store_of(home: Home) -> str:
    """What tells the objects behind ``home`` from all others: the uid of a namespace that is always there."""
    found = Client(home).call("GET", "/api/v1/namespaces/kube-system")
    return str((found.get("metadata") or {}).get("uid") or "")


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    # Never readable by others: it holds keys.
    durable.write(path, text.encode())
