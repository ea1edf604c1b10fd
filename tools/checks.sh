# shellcheck shell=bash
# How ./dev checks the checkout: lint, tests, benchmarks. Sourced by ./dev, which sets ROOT and VENV.
# shellcheck disable=SC2034  # STEPS is for steps.sh

# These need no guest, no libvirt and no control plane.
readonly -a LIGHT=(tests/unit tests/tui)
# Tests wait longer than they compute, so there are more processes than processors. tests/rooms.py says what stays in
# one of them. Those of the others have guests and an API server each.
readonly -a WORKERS=(--numprocesses "$(($(nproc) * 2))" --maxprocesses 8 --dist loadscope)
readonly -a HEAVY_WORKERS=(--numprocesses "$(($(nproc) + 1))" --maxprocesses 4 --dist loadscope --no-loadscope-reorder)

tests() {
    case "${1:-}" in
    "") all_tests ;;
    fast)
        shift
        STEPS=3
        prepare
        step "pytest: ${LIGHT[*]}"
        python_tests "${LIGHT[@]}" "${WORKERS[@]}" "$@"
        ;;
    *)
        STEPS=3
        prepare
        step "pytest"
        python_tests "$@"
        ;;
    esac
}

all_tests() {
    local code=0 failed
    STEPS=5
    prepare
    lint
    step "pytest: ${LIGHT[*]}"
    # What failed is counted in pytest's cache, where nothing of an earlier run may be.
    may_fail --cache-clear "${LIGHT[@]}" "${WORKERS[@]}"
    step "pytest: the others"
    may_fail "${LIGHT[@]/#/--ignore=}" "${HEAVY_WORKERS[@]}"
    failed="$(failed_tests)"
    [[ $failed -gt 0 ]] || return 0
    say "Tests failed: $failed. Those alone, once more:"
    python_tests --last-failed --last-failed-no-failures=none || code=$?
    if [[ $code -eq 0 ]]; then
        say "Warning: $failed test(s) passed only when they were run once more; each is a defect of its own."
    else
        say "Warning: $failed test(s) had to be run once more, and not all of them passed."
    fi
    return "$code"
}

# Ends the run where pytest says anything but "tests failed", which is 1. Real guests on a busy machine can miss a
# deadline; what is broken fails twice.
may_fail() {
    local code=0
    python_tests "$@" || code=$?
    [[ $code -le 1 ]] || exit "$code"
}

failed_tests() {
    "$VENV/bin/python" - "$ROOT/.pytest_cache/v/cache/lastfailed" <<'END'
import json, sys
from pathlib import Path

file = Path(sys.argv[1])
print(len(json.loads(file.read_text())) if file.exists() else 0)
END
}

python_tests() {
    cd "$ROOT" || exit
    "$VENV/bin/python" -m pytest "$@"
}

lint() {
    step "Lint: ruff, mypy, import floors, shellcheck"
    cd "$ROOT" || exit
    "$VENV/bin/ruff" check .
    "$VENV/bin/ruff" format --check .
    "$VENV/bin/mypy"
    "$VENV/bin/mypy" tests benchmarks
    "$VENV/bin/lint-imports"
    shellcheck --external-sources dev .ci/run
    shellcheck tests/guest/root/etc/{rcS,rcK,state,seed,udhcpc}
}

bench() {
    if [[ ${1:-} == against ]]; then
        shift
        STEPS=3
        prepare
        step "Benchmarks, turn by turn with the commit's"
        cd "$ROOT" || exit
        "$VENV/bin/python" -m benchmarks.against "$@"
        return
    fi
    local wanted="${1:-}" file name code=0
    local -a files=() names=()
    STEPS=3
    prepare
    cd "$ROOT" || exit
    # The others are what the benchmarks share.
    mapfile -t files < <(grep -l '^if __name__ == "__main__":' benchmarks/*.py)
    for file in "${files[@]}"; do
        name="$(basename "$file" .py)"
        [[ -n $wanted && $wanted != "$name" ]] || names+=("$name")
    done
    [[ ${#names[@]} -gt 0 ]] || die "There is no benchmark \"$wanted\" in benchmarks/."
    step "Benchmarks: ${names[*]}"
    for name in "${names[@]}"; do
        "$VENV/bin/python" -m "benchmarks.$name" || code=1
    done
    return "$code"
}
