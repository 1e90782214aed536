#!/bin/sh
# make up: from a checkout to the second, warm answer. SDK=no leaves out the AWS SDKs, which come over the network.
set -eu
cd "$(dirname "$0")/.."
data=${DATA:-.irori}
listen=${LISTEN:-127.0.0.1:9000}
build=${BUILD:-build}
endpoint=http://$listen
run=
if [ "$(id -u)" != 0 ]; then
    run=sudo
    echo "sudo is used for these steps only: installing missing packages, installing the AWS SDKs into $data,"
    echo "and starting the server, because only root can make sandboxes."
fi
say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
[ -t 1 ] || say() { printf '\n%s\n' "$1"; }

say "1. Packages and build"
$run tools/packages.sh build run up
built=$(make --no-print-directory all 2>&1) || { printf '%s\n' "$built" >&2; exit 1; }
printf '%s\n' "$built" | tail -n 1

say "2. Server"
if curl -sf "$endpoint/health" >/dev/null 2>&1; then
    echo "already running on $listen"
else
    mkdir -p "$data"
    folder=$(cd "$data" && pwd -P)
    log=$folder/serve.log
    # The folder belongs to the server without privileges: root does not write where a link of its own leads.
    # shellcheck disable=SC2016 # expanded by the inner shell
    $run sh -c 'for file in "$3" "$2/serve.pid"; do [ ! -L "$file" ] || rm -f "$file"; done
        setsid "$0" serve --listen "$1" --data "$2" >>"$3" 2>&1 </dev/null & echo $! >"$2/serve.pid"' \
        "$build/irori" "$listen" "$folder" "$log"
    i=0
    until curl -sf "$endpoint/health" >/dev/null 2>&1; do
        i=$((i + 1))
        if [ $i -gt 150 ] || ! $run kill -0 "$($run cat "$data/serve.pid")" 2>/dev/null; then
            echo "The server did not start. Its log ($log) ends with:" >&2
            tail -n 15 "$log" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "listening on $listen, data in $data, log in $log"
fi

say "3. AWS SDKs, as they are on AWS"
without="without them, functions that import an AWS SDK fail; install them with: irori runtimes sdk --data $data"
if [ "${SDK:-yes}" = no ]; then
    echo "left out (SDK=no): $without"
else
    $run "$build/irori" runtimes sdk --data "$data" || echo "($without)"
fi

say "4. The example function"
deployed=$("$build/irori" deploy examples/warmstart --name warmstart --url --data "$data" --endpoint "$endpoint" --json)
url=$(printf '%s' "$deployed" | python3 -c 'import json,sys; print(json.load(sys.stdin)["url"])')
# Not every machine resolves *.localhost, so curl is told.
host=$(echo "$url" | sed 's,^http://\([^/:]*\).*,\1,')
port=${listen##*:}
# An environment of an earlier run may still be there: what the answer says decides on the text.
call() {
    curl -sS --resolve "$host:$port:127.0.0.1" -w '\n%{time_total}' "$url?message=$2" | {
        IFS= read -r answer
        IFS= read -r seconds || :
        case $answer in
        coldstart) why='cold: the environment is made' ;;
        warmstart,*) why='warm: the environment remembers' ;;
        *) echo "The function answered: $answer" >&2; exit 1 ;;
        esac
        printf '   %s (%s):\n   %-46s %s ms\n' "$1" "$why" "$answer" "$(awk "BEGIN { printf \"%.1f\", $seconds * 1000 }")"
    }
}
echo "deployed: $url"

say "5. Two calls"
call first hello
call second again

say "What to try next"
cat <<TEXT
   curl '$url?message=hi'
   $build/irori invoke warmstart --data $data --payload '{"queryStringParameters":{"message":"hi"}}'
   $build/irori logs warmstart --data $data
   $build/irori ps --data $data
   AWS_SHARED_CREDENTIALS_FILE=$data/credentials aws --profile irori --endpoint-url $endpoint lambda list-functions
   make down
TEXT
