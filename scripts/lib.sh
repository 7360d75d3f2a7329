# Shared by the scripts beside it; sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export UV_PYTHON_DOWNLOADS=never # use the interpreters that are here

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

# need_packages PACKAGE...: installs Debian packages if that is allowed, says what to install if not.
need_packages() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            die "please install: $* (on Debian or Ubuntu: sudo apt-get install $*)"
        fi
        as_root=(sudo -n)
    fi
    command -v apt-get >/dev/null || die "please install: $* (there is no apt-get here)"
    say "installing $*"
    "${as_root[@]}" apt-get update -qq >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2
}

# pyenv's own directories and not its shims: those answer for versions that are not active.
use_pyenv() {
    local bin
    for bin in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin; do
        if [ -x "$bin/python3" ]; then PATH="$bin:$PATH"; fi
    done
    export PATH
}

# The newest Python here that this package supports.
find_python() {
    local name
    for name in python3.14 python3.13 python3.12 python3.11 python3.10 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# make_venv DIRECTORY: a virtual environment; an existing one that works is kept.
make_venv() {
    local python
    if "$1/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
    python=$(find_python) || { need_packages python3 python3-venv; python=$(find_python); } ||
        die "this needs Python 3.10 or newer"
    say "making $1 with $("$python" --version)"
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        # Debian keeps ensurepip apart, in a package named for the version.
        need_packages "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    "$python" -m venv --clear "$1"
}
