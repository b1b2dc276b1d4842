# shellcheck shell=sh
# Debian packages, as root.

# need_packages 'NAME...' 'NAME...': installs those that are missing; says nothing, and is quick, when none
# is. The second are installed only where this release of Debian has them.
need_packages() {
    # shellcheck disable=SC2086 # a list of words
    missing=$(missing_packages $1)
    # shellcheck disable=SC2086 # a list of words
    wanted=$(missing_packages $2)
    # What is wanted but unknown to apt is no reason to look for news at every call.
    # shellcheck disable=SC2086 # a list of words
    [ -n "$missing$(known_packages $wanted)" ] || return 0
    echo "installing $missing$wanted" >&2
    without_services install_packages "$missing" "$wanted"
}

# without_services COMMAND...: installs, and says what it has to say on stderr.
without_services() {
    # A test script must not leave a network service running that nobody asked for: packages are told not to
    # start any, unless the machine already has a policy of its own.
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e $policy ]; then
        made_policy=yes
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    installed=0
    "$@" >&2 || installed=$?
    [ -z "$made_policy" ] || rm -f $policy
    return $installed
}

missing_packages() {
    for package; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

known_packages() {
    for package; do
        ! apt-cache show --no-all-versions "$package" >/dev/null 2>&1 || printf '%s ' "$package"
    done
}

install_packages() {
    # DPkg::Lock::Timeout does not cover the lock on the lists, which another apt may hold.
    tries=0
    until apt-get -qq update || [ $tries = 5 ]; do
        tries=$((tries + 1))
        sleep 3
    done
    # shellcheck disable=SC2046,SC2086 # lists of words
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
        $1 $(known_packages $2) </dev/null
}

# own_apt DIR RELEASE...: has apt, in this shell, use lists and a cache of its own there, of these releases: those of
# the machine stay as they are.
own_apt() {
    own=$1
    shift
    mkdir -p "$own/lists/partial" "$own/cache/archives/partial"
    # shellcheck disable=SC2016 # apt expands it
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    for release; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror%/} $release main"
    done >"$own/sources"
    cat >"$own/apt.conf" <<CONF
APT::Sandbox::User "root";
Dir::State::lists "$own/lists";
Dir::Cache "$own/cache";
Dir::Etc::sourcelist "$own/sources";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
CONF
    export APT_CONFIG="$own/apt.conf"
}

# The code name of this release of Debian.
release_name() {
    sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# install_backports NAME...: from what is newer than this release of Debian.
install_backports() (
    lists=$(mktemp -d)
    trap 'rm -rf "$lists"' EXIT
    own_apt "$lists" "$(release_name)" "$(release_name)-backports"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
        -t "$(release_name)-backports" "$@" </dev/null
)

# fetch_packages RELEASE ARCHITECTURE DIR NAME...: unpacks them to DIR/tree.
fetch_packages() (
    release=$1
    arch=$2
    new=$3
    shift 3
    own_apt "$new" "$release"
    : >"$new/status"
    cat >>"$new/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures {"$arch";};
Dir::State::status "$new/status";
CONF
    cd "$new" || return
    apt-get -qq update && apt-get -qq download "$@" || return
    for package in *.deb; do
        dpkg-deb -x "$package" tree || return
    done
) >&2
