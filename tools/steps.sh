# shellcheck shell=bash
# How ./dev speaks, and the processes that it starts and ends. Sourced by ./dev, which sets WORK and STEPS.

STEP=0
STEPS=0

die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

step() {
    STEP=$((STEP + 1))
    printf '[%d/%d] %s\n' "$STEP" "$STEPS" "$*" >&2
}

say() {
    printf '      %s\n' "$*" >&2
}

# Runs a long command into a log; shows its last line as it goes, and the end of the log when it fails.
quietly() {
    local log="$WORK/$1.log" child code=0 begin=$SECONDS last='' line
    shift
    mkdir -p "$WORK"
    "$@" >"$log" 2>&1 </dev/null &
    child=$!
    # Ctrl+C reaches this shell, but not its background jobs.
    trap 'kill "$child" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.5
        line="$(tail -n 1 "$log" | tr -d '\r\033' | cut -c 1-90)"
        if [[ -n $line && $line != "$last" && $((SECONDS - begin)) -ge 3 ]]; then
            last=$line
            if [[ -t 2 ]]; then
                printf '\r\033[K      %3d s  %s' $((SECONDS - begin)) "$line" >&2
            elif [[ $(((SECONDS - begin) % 10)) -eq 0 ]]; then
                say "$((SECONDS - begin)) s  $line"
            fi
        fi
    done
    [[ ! -t 2 || -z $last ]] || printf '\r\033[K' >&2
    wait "$child" || code=$?
    trap - INT TERM
    if [[ $code -ne 0 ]]; then
        tail -n 30 "$log" >&2
        die "$1 failed; its whole output is in $log."
    fi
}

start_time() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
    stat="${stat##*) }"
    # A zombie has ended, even where nobody collects it.
    awk '$1 != "Z" { print $20 }' <<<"$stat"
}

# libvirt serves the whole host, so every run of ./dev must find what another one started.
pid_file() {
    case "$1" in
    libvirtd | virtlogd) printf '/run/hyperd-dev/%s.pid' "$1" ;;
    *) printf '%s/%s.pid' "$WORK" "$1" ;;
    esac
}

# A pid file holds pid and start time, so a number that the kernel gave away again is never taken for ours.
remember() {
    local file
    file="$(pid_file "$1")"
    mkdir -p "${file%/*}"
    printf '%s %s\n' "$2" "$(start_time "$2")" >"$file"
}

alive() {
    local file pid started
    file="$(pid_file "$1")"
    [[ -r $file ]] && read -r pid started <"$file" &&
        [[ -n $started && "$(start_time "$pid" || true)" == "$started" ]]
}

end() {
    local name=$1 seconds=${2:-30} file pid _
    file="$(pid_file "$name")"
    if alive "$name"; then
        read -r pid _ <"$file"
        kill -TERM "$pid" 2>/dev/null || true
        local until=$((SECONDS + seconds))
        while alive "$name"; do
            [[ $SECONDS -lt $until ]] || {
                say "$name (pid $pid) did not end within $seconds s and is killed"
                kill -KILL "$pid" 2>/dev/null || true
            }
            sleep 0.1
        done
    fi
    rm -f "$file"
}
