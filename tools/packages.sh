#!/bin/sh
# Installs the Debian packages of the given groups of tools/packages.txt that are missing; without root it names them.
set -eu
list=$(dirname "$0")/packages.txt
missing=
for group in "$@"; do
    # shellcheck disable=SC2013 # a name holds no spaces, and a loop behind a pipe could not set $missing
    for package in $(awk -v group="[$group]" '/^\[/ { on = ($0 == group) } /^[a-z]/ && on' "$list"); do
        case $package in
        # A Node from elsewhere will do.
        nodejs) command -v node >/dev/null 2>&1 && continue ;;
        esac
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "Missing packages. Install them with:" >&2
    echo "  sudo apt-get install -y$missing" >&2
    exit 1
fi
echo "Installing missing packages:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
apt-get install -y --no-install-recommends $missing >/tmp/irori-packages.$$ 2>&1 ||
    { apt-get update >/dev/null && apt-get install -y --no-install-recommends $missing >/tmp/irori-packages.$$ 2>&1; } ||
    { tail -n 20 /tmp/irori-packages.$$ >&2; rm -f /tmp/irori-packages.$$; exit 1; }
rm -f /tmp/irori-packages.$$
