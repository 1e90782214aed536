#!/bin/sh
# make down: stops the server that make up left running.
set -eu
data=${DATA:-.irori}
pid_file=$data/serve.pid
run=
[ "$(id -u)" = 0 ] || run=sudo
if [ ! -f "$pid_file" ] || ! $run kill -0 "$(cat "$pid_file")" 2>/dev/null; then
    echo "Irori is not running."
    $run rm -f "$pid_file"
    exit 0
fi
pid=$(cat "$pid_file")
[ -z "$run" ] || echo "sudo is used to stop the server, which runs as root."
$run kill -TERM "$pid"
for _ in $(seq 1 120); do
    $run kill -0 "$pid" 2>/dev/null || { $run rm -f "$pid_file"; echo "Irori is stopped."; exit 0; }
    sleep 0.1
done
echo "Irori (process $pid) does not stop; its log is $data/serve.log" >&2
exit 1
