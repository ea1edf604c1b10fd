# shellcheck shell=bash
# The cluster of ./dev cluster --nodes. Sourced by ./dev, which sets ROOT, VENV and WORK.
# shellcheck disable=SC2034  # STEPS is for steps.sh

readonly NODES_STATE=/var/lib/hyperd-nodes

run_nodes() {
    local begin=$SECONDS name kubectl
    STATE=$NODES_STATE
    WORK="$STATE/dev"
    STEPS=4
    mkdir -p "$WORK"
    prepare
    step "Kubernetes: the control plane's programs and the nodes'"
    for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
        (cd "$ROOT" && quietly "build-$name" "$VENV/bin/python" -m tests.cluster.controlplane.build "$name")
    done
    kubectl="$(tail -n 1 "$WORK/build-kubectl.log")"
    start_nodes
    cat <<END

A cluster of $NODES nodes runs ($((SECONDS - begin)) s).
  kubeconfig   $WORK/nodes/plane/kubeconfig
  logs         $WORK/nodes/plane/*.log, $WORK/nodes/node-*/log/*.log

Try next:
  export KUBECONFIG=$WORK/nodes/plane/kubeconfig
  $kubectl get nodes -o wide
  $kubectl create deployment web --image localhost/box:1 --replicas $NODES && $kubectl get pods -o wide -w
  $WORK/nodes/node-1/enter                # a shell on a node
  ./dev stop                              # ends the cluster, with all that is in it
END
}

start_nodes() {
    local until=$((SECONDS + 180))
    if alive nodes; then
        [[ $NODES == "$(<"$WORK/nodes-count")" ]] ||
            die "A cluster of $(<"$WORK/nodes-count") nodes runs; ./dev stop ends it."
        step "Nodes: $NODES run"
    else
        step "Nodes: starting $NODES of them with a control plane (log: $WORK/nodes.log)"
        printf '%s\n' "$NODES" >"$WORK/nodes-count"
        (
            cd "$ROOT" || exit
            exec setsid "$VENV/bin/python" -m tests.cluster.nodes.tryout --nodes "$NODES" --folder "$WORK/nodes" \
                >"$WORK/nodes.log" 2>&1 </dev/null
        ) &
        remember nodes $!
    fi
    until [[ -e $WORK/nodes/ready ]]; do
        alive nodes || { tail -n 20 "$WORK/nodes.log" >&2; die "The cluster ended at once; its log is above."; }
        [[ $SECONDS -lt $until ]] || { tail -n 20 "$WORK/nodes.log" >&2; die "The cluster is not ready after 180 s."; }
        sleep 0.2
    done
}

# Nothing of such a cluster is kept, so that its end is the end of all.
stop_nodes() {
    WORK="$NODES_STATE/dev"
    STEPS=1
    step "Cluster of $(<"$WORK/nodes-count") nodes: ending it"
    end nodes
    rm -rf --one-file-system -- "$NODES_STATE"
}
