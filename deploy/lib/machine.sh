# Sourced by tests/run and what is in deploy/: what they need of the machine before anything else: /proc, and the Debian
# packages of deploy/packages.
# shellcheck shell=bash
packages_file=$(dirname "${BASH_SOURCE[0]}")/../packages

# packages_missing GROUP...: those of the groups that dpkg does not call installed, and that nothing installed provides
# either: a nodejs from elsewhere brings its npm along, and conflicts with Debian's
packages_missing() {
    local group there
    # shellcheck disable=SC2016  # dpkg-query fills these in
    there=$(dpkg-query -W -f='${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
        sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr -s ', ' '\n')
    for group in "$@"; do
        sed -n "s/^$group //p" "$packages_file" | grep -vxF -f <(printf '%s\n' "$there")
    done
    return 0
}

# Runs apt-get without starting the services that it installs: the lab runs its own avahi-daemon in each namespace,
# and one on the host's network would be left behind. policy-rc.d is Debian's way to say so.
packages_apt_get() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@"
)

# packages_ensure LOG GROUP...: returns 0 when all of them are installed in the end. Says what it does on stdout and,
# when it cannot, why on stderr; apt's own words go to LOG.
packages_ensure() {
    local log=$1 missing
    shift
    mapfile -t missing < <(packages_missing "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "This is not Debian (there is no apt-get). Needed: ${missing[*]}" >&2
        return 1
    fi
    if [ "$(id -u)" != 0 ]; then
        printf 'Packages are missing and only root can install them. Run this, then try again:\n  apt-get install %s\n' \
            "${missing[*]}" >&2
        return 1
    fi
    echo "installing ${#missing[@]} Debian packages"
    # the lists on a fresh machine are absent or old
    if ! packages_apt_get install "${missing[@]}" >"$log" 2>&1 &&
        ! { packages_apt_get update; packages_apt_get install "${missing[@]}"; } >>"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "apt-get could not install: ${missing[*]} (all of it: $log)" >&2
        return 1
    fi
}

# The first plain Debian archive (not -security, not -updates) that this machine's apt uses.
packages_mirror() {
    # shellcheck disable=SC2016  # apt-get fills these in
    apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
        awk '$1 == "Packages" && $3 == "main" && $2 !~ /-/ && $4 ~ /\/debian\/?$/ { sub(/\/$/, "", $4); print $4; exit }'
}

# machine_proc: a bare chroot has no /proc, and everything here reads it. Sets machine_mounted_proc when it had to be
# mounted; machine_unmount_proc is then the caller's to call in the end.
machine_proc() {
    machine_mounted_proc=
    [ ! -e /proc/self/stat ] || return 0
    if [ "$(id -u)" != 0 ] || ! mount -t proc proc /proc; then
        echo "/proc is not mounted here, and has to be" >&2
        return 1
    fi
    # shellcheck disable=SC2034  # the caller's
    machine_mounted_proc=1
}

machine_unmount_proc() { umount -l /proc 2>/dev/null; }
