# Shared part of the floor's scripts. Each runs in one ssh as root, with the host's configuration files as a tar on stdin.
# Variables: mirror, servers (addresses), size, namespace, targets, and the packages.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
work=$(mktemp -d /var/tmp/floor-XXXXXX)
trap 'rm -rf "$work" /usr/sbin/policy-rc.d' EXIT

# Downloads files in parallel and verifies them if a checksum is published.
download() {
    local url jobs=()
    for url in "$@"; do
        { curl -fsS -o "$work/${url##*/}" "$url" && verify "$url"; } &
        jobs+=($!)
    done
    for url in "${jobs[@]}"; do wait "$url"; done
}

verify() {
    local sum
    if sum=$(curl -fs "$1.sha256"); then
        echo "${sum%% *}  $work/${1##*/}" | sha256sum --quiet --check
    fi
}

# Installs all packages in one call. No service may start with the example configuration of its package.
install_packages() {
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    apt-get -qq -y -o Dpkg::Options::=--force-confold -o APT::Sandbox::User=root install --no-install-recommends "$@" \
        >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; return 1; }
    rm /usr/sbin/policy-rc.d
}

# Queries a server node over the info protocol, without a process per query.
query() {
    local line length
    { exec 3<>"/dev/tcp/$1/3000"; } 2>/dev/null || return 1
    printf -v length '%02x' $((${#2} + 1))
    printf "\\x02\\x01\\0\\0\\0\\0\\0\\x$length%s\\n" "$2" >&3
    IFS= read -r -t 2 line <&3 2>/dev/null || line=
    exec 3>&-
    answer=${line##*$'\t'}
    [[ $line == *$'\t'* && $answer != ERROR* ]]
}

wait_for() {
    until "$@"; do sleep 0.2; done
}

in_cluster() {
    query "$1" "cluster-stable:size=$size;ignore-migrations=true"
}
