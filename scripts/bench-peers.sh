#!/usr/bin/env bash
# Installs from the system's packages the peers that today's benchmarks compare with, where it may, and says what it skips
# and why where it may not. Peers that are Rust crates come with the benchmark itself.
set -euo pipefail

# What tells that a package is there, a command or a pattern of files, and the package.
peers=("erlc erlang-base" "/usr/lib/erlang/lib/ssl-*/ebin/ssl.app erlang-ssl" "openssl openssl")

as_root=()
if [ "$(id -u)" != 0 ]; then
  as_root=(sudo -n)
fi

get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "$@" >/dev/null 2>&1
}

install() {
  command -v apt-get >/dev/null || { echo "no apt-get"; return 1; }
  [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || { echo "neither root nor sudo without a password"; return 1; }
  # The lists of a fresh machine are empty, hence the second try.
  get install -y --no-install-recommends "$1" && return
  get update || true
  get install -y --no-install-recommends "$1" || { echo "apt-get could not install it"; return 1; }
}

is_there() {
  command -v "$1" >/dev/null || compgen -G "$1" >/dev/null
}

for peer in "${peers[@]}"; do
  read -r command package <<<"$peer"
  if is_there "$command"; then
    echo "bench-peers: $package is there"
  elif why=$(install "$package"); then
    echo "bench-peers: $package installed"
  else
    echo "bench-peers: $package skipped: $why; its column will be absent"
  fi
done
