#!/bin/sh
# make down: stops the server that make up left running.
set -eu
cd "$(dirname "$0")/.."
data=${DATA:-.irori}
run=
[ "$(id -u)" = 0 ] || run=sudo

# The file may be older than the machine's last start, or written by somebody else: a signal goes to nothing but the server
# of this data folder.
is_server() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    case $($run readlink "/proc/$1/exe" 2>/dev/null) in
    */irori | */irori' (deleted)') ;;
    *) return 1 ;;
    esac
    $run cat "/proc/$1/cmdline" 2>/dev/null | tr '\0' '\n' | grep -Fx -A1 -e --data | grep -Fxq -e "$folder"
}

folder=$(cd "$data" 2>/dev/null && pwd -P) || { echo "Irori is not running."; exit 0; }
pid_file=$folder/serve.pid
pid=$($run cat "$pid_file" 2>/dev/null || :)
if ! is_server "$pid"; then
    echo "Irori is not running."
    $run rm -f "$pid_file"
    exit 0
fi
[ -z "$run" ] || echo "sudo is used to stop the server, which runs as root."
$run kill -TERM "$pid"
for _ in $(seq 1 120); do
    is_server "$pid" || { $run rm -f "$pid_file"; echo "Irori is stopped."; exit 0; }
    sleep 0.1
done
echo "Irori (process $pid) does not stop; its log is $data/serve.log" >&2
exit 1
