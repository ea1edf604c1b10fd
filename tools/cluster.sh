# shellcheck shell=bash
# The Kubernetes API server of ./dev cluster. Sourced by ./dev, which sets ROOT, VENV and WORK.

# What the settings of a daemon say beside the rest when its objects are in that API server.
cluster_settings() {
    [[ -r $WORK/plane-port ]] || free_port >"$WORK/plane-port"
    [[ -r $WORK/webhook-port ]] || free_port >"$WORK/webhook-port"
    printf '\n[kubernetes]\nkubeconfig = "%s"\nregister_node = true\nallow_emulation = true\n' \
        "$WORK/plane/account.kubeconfig"
    printf '\n[aggregation]\nhost = "127.0.0.1"\nport = %s\n' "$(<"$WORK/webhook-port")"
}

build_plane() {
    local name
    step "Control plane: kube-apiserver and etcd"
    for name in kube-apiserver kube-controller-manager kubectl; do
        (cd "$ROOT" && quietly "build-$name" "$VENV/bin/python" -m tests.cluster.controlplane.build "$name")
    done
    kubectl="$(tail -n 1 "$WORK/build-kubectl.log")"
}

start_plane() {
    if alive plane; then
        step "API server: runs"
    else
        # With a new API server come new certificates and a new token.
        end hyperd
        step "API server: starting, with hyperd's manifests (log: $WORK/plane.log)"
        rm -f "$WORK/plane/ready"
        (
            cd "$ROOT" || exit
            exec setsid "$VENV/bin/python" -m tests.cluster.tryout "$WORK/plane" "$(<"$WORK/plane-port")" \
                "$(<"$WORK/webhook-port")" >"$WORK/plane.log" 2>&1 </dev/null
        ) &
        remember plane $!
    fi
    local until=$((SECONDS + 120))
    until [[ -e $WORK/plane/ready ]]; do
        alive plane || { tail -n 20 "$WORK/plane.log" >&2; die "The control plane ended at once; its log is above."; }
        [[ $SECONDS -lt $until ]] || { tail -n 20 "$WORK/plane.log" >&2; die "The control plane is not ready after 120 s."; }
        sleep 0.2
    done
}

# Consoles and logs go through the API server, which looks for hyperd every few seconds only.
await_aggregation() {
    "$kubectl" --kubeconfig "$WORK/plane/kubeconfig" wait --for=condition=Available --timeout=60s \
        apiservice/v1alpha2.subresources.virtualization.deckhouse.io >/dev/null ||
        die "The API server does not reach hyperd; see $WORK/hyperd.log and $WORK/plane.log."
}
