#!/bin/bash
# Shows stateproxy at work: installs what is needed, builds, starts a real S3 server on this machine, mounts a bucket and
# uses it as files. Every step is checked against the server with a plain S3 client. Ends with 1 at the first thing that
# is not as it should be. Leaves nothing running. Root, or a user that may mount with fusermount3.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

tools/build.sh
server=$(tools/s3server.sh get)

# What is set for other servers and other mounts must not reach this one.
for name in $(compgen -e | grep -E '^(AWS|STATE|STATEPROXY|ASYA)_|^([a-zA-Z]+_)?(proxy|PROXY)$'); do
    unset "$name"
done

# ---- a place for everything, and an end for everything ----

# The S3 server keeps metadata in extended attributes (tmpfs has them since Linux 6.6), and the copy
# below is of 100 MB, three times.
is_fit() {
    [ -w "$1" ] && [ "$(df --output=avail -m "$1" | tail -n 1)" -gt 700 ] && python3 - "$1" <<-'END'
	import os, sys, tempfile

	with tempfile.NamedTemporaryFile(dir=sys.argv[1]) as f:
	    try:
	        os.setxattr(f.name, "user.probe", b"1")
	    except OSError:
	        sys.exit(1)
	END
}
place=/dev/shm
is_fit $place || place=${TMPDIR:-/var/tmp}
is_fit "$place" || die "$place: 700 MB and a file system with extended attributes are needed; set TMPDIR to one"
work=$(mktemp -d "$place/stateproxy-quickstart.XXXXXX")
mnt=$work/mnt
mkdir -p "$work/server" "$mnt"
server_pid='' daemon_pid='' cas_pid='' stream_pid=''

clean_up() {
    local pid mount
    for pid in $stream_pid $cas_pid $daemon_pid $server_pid; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $stream_pid $cas_pid $daemon_pid $server_pid; do
        timeout 2 tail --pid="$pid" -f /dev/null || true
    done
    for mount in "$work/stream" "$work/cas" "$mnt"; do
        ! mountpoint -q "$mount" || umount -l "$mount" || fusermount3 -uz "$mount"
    done
    for pid in $stream_pid $cas_pid $daemon_pid $server_pid; do
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

wrong() {
    printf '\nNot as it should be: %s\n' "$*" >&2
    [ ! -s "$work/log" ] || sed 's/^/  log: /' "$work/log" >&2
    [ ! -s "$work/cas.log" ] || sed 's/^/  cas.log: /' "$work/cas.log" >&2
    [ ! -s "$work/stream.log" ] || sed 's/^/  stream.log: /' "$work/stream.log" >&2
    exit 1
}

title() { printf '\n== %s\n' "$*"; }

# Shows a command and runs it.
run() {
    printf '$ %s\n' "$*"
    (cd "$work" && eval "$*") || wrong "\"$*\" failed"
}

wait_for() { # what, command...
    local what=$1 i
    shift
    for ((i = 0; i < 200; i++)); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    wrong "$what"
}

# ---- the S3 server, and a plain client for it ----

key=quickstart secret=quickstart-secret region=us-east-1 bucket=demo

free_port() {
    local port
    for ((port = 20000 + RANDOM % 20000; ; port++)); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

port=$(free_port)
url=http://127.0.0.1:$port
"$server" --port "127.0.0.1:$port" --access $key --secret $secret --region $region \
    --keep-alive --quiet posix "$work/server" >"$work/server.log" 2>&1 &
server_pid=$!

s3() { # method key [curl option...]
    local method=$1 path=$2
    shift 2
    curl -q -sS --noproxy '*' --fail-with-body --aws-sigv4 "aws:amz:$region:s3" -u "$key:$secret" \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X "$method" "$@" "$url/$bucket${path:+/$path}"
}

# The object must hold exactly this.
holds() { [ "$(s3 GET "models/$1")" = "$2" ] || wrong "object models/$1 does not hold \"$2\""; }
gone() {
    [ "$(s3 GET "models/$1" -o /dev/null -w '%{http_code}' 2>/dev/null)" = 404 ] ||
        wrong "object models/$1 is still there, or the server does not say that it is gone"
}

wait_for 'the S3 server does not start' s3 PUT ''
s3 PUT models/readme.txt --data-binary 'put by a plain S3 client' -H 'Content-Type: text/plain'
s3 PUT models/llama/config.json --data-binary '{"layers": 32}' -H 'Content-Type: application/json'

# ---- the mount ----

title "mount the prefix models/ of bucket $bucket at $url"
export STATE_BUCKET=$bucket STATE_PREFIX=models STATE_MOUNT=$mnt AWS_REGION=$region
export AWS_ENDPOINT_URL=$url AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret
export STATEPROXY_CONTROL_SOCKET=$work/control.sock
echo "\$ STATE_BUCKET=$bucket STATE_PREFIX=models STATE_MOUNT=mnt CONNECTOR_SOCKET=api.sock AWS_ENDPOINT_URL=$url ... ./stateproxyd &"
CONNECTOR_SOCKET=$work/api.sock ./stateproxyd >"$work/log" 2>&1 &
daemon_pid=$!
is_ready() { grep -q ' ready ' "$work/log" || { kill -0 "$daemon_pid" || wrong 'stateproxyd ended'; false; }; }
wait_for 'stateproxyd does not get ready' is_ready
grep ' ready ' "$work/log"

title 'list and read what is in the bucket'
run 'ls -lR mnt'
run 'cat mnt/llama/config.json; echo'
[ "$(cat "$mnt/readme.txt")" = 'put by a plain S3 client' ] || wrong 'readme.txt reads otherwise'

title 'write, append, rename, delete: on S3 when the command returns'
run 'echo "hello" > mnt/note.txt'
holds note.txt hello
run 'echo "again" >> mnt/note.txt'
holds note.txt $'hello\nagain'
run 'mkdir mnt/notes && mv mnt/note.txt mnt/notes/first.txt'
holds notes/first.txt $'hello\nagain'
gone note.txt
run 'rm -r mnt/notes'
gone notes/first.txt
echo '(each was looked up on the server with curl)'

# ---- the connector API ----

title 'the same files through the socket, for programs that have no mount'
run 'curl -sS --unix-socket api.sock -X PUT --data-binary "by curl" http://localhost/keys/curl.txt'
holds curl.txt 'by curl'
run 'cat mnt/curl.txt; echo'
run 'curl -sS --unix-socket api.sock "http://localhost/keys/?prefix=llama/"; echo'
run 'curl -sS --unix-socket api.sock "http://localhost/meta/curl.txt?attr=etag"; echo'
run 'curl -sS --unix-socket api.sock -X DELETE http://localhost/keys/curl.txt'
gone curl.txt

# ---- workers are disposable ----

workers() { ./stateproxyctl status | awk '$1 == "worker" && $4 > 0 { print $4 }'; }

title 'kill workers in the middle of a copy: the copy does not notice'
head -c 100M /dev/urandom >"$work/model.bin"
(cd "$work" && cp model.bin mnt/model.bin && cp mnt/model.bin back.bin) &
copy_pid=$!
echo '$ cp model.bin mnt/model.bin && cp mnt/model.bin back.bin &'
kills=0
while kill -0 $copy_pid 2>/dev/null; do
    if [ $kills -lt 8 ]; then
        for pid in $(workers); do
            ! kill -9 "$pid" 2>/dev/null || kills=$((kills + 1))
        done
    fi
    sleep 0.3
done
echo "\$ kill -9 WORKER        # $kills times meanwhile"
wait $copy_pid || wrong 'the copy failed'
[ $kills -gt 0 ] || wrong 'no worker was killed'
run 'cmp model.bin back.bin && echo same'
s3 GET models/model.bin | cmp - "$work/model.bin" || wrong 'model.bin is otherwise on the server'

title 'look at it'
run "$PWD/stateproxyctl status | head -n 12"
run "$PWD/stateproxyctl check"

# ---- compare-and-set ----

title 'compare-and-set: two programs, one counter, on a second mount with variant s3-buffered-cas'
s3 PUT models/counter.json --data-binary '{"count": 0}'
mkdir "$work/cas"
STATE_MOUNT=$work/cas STATE_VARIANT=s3-buffered-cas STATEPROXY_CONTROL_SOCKET=$work/cas.sock \
    ./stateproxyd >"$work/cas.log" 2>&1 &
cas_pid=$!
cas_is_ready() { grep -q ' ready ' "$work/cas.log" || { kill -0 "$cas_pid" || wrong 'stateproxyd ended'; false; }; }
wait_for 'the second stateproxyd does not get ready' cas_is_ready
grep 'enforces conditions' "$work/cas.log"
cat >"$work/count.py" <<'END'
import json, sys
path, conflicts, done = sys.argv[1], 0, 0
while done < 20:
    with open(path) as f: d = json.load(f)
    d["count"] += 1
    try:
        with open(path, "w") as f: json.dump(d, f)
        done += 1
    except FileExistsError:         # somebody was faster: read again, try again
        conflicts += 1
print(f"20 increments, {conflicts} times FileExistsError and tried again")
END
sed 's/^/    /' "$work/count.py"
echo '$ python3 count.py cas/counter.json & python3 count.py cas/counter.json'
python3 "$work/count.py" "$work/cas/counter.json" &
other_pid=$!
python3 "$work/count.py" "$work/cas/counter.json" || wrong 'a counter failed'
wait $other_pid || wrong 'a counter failed'
run 'cat cas/counter.json; echo'
holds counter.json '{"count": 40}'
run "$PWD/stateproxyctl --socket cas.sock conflicts | tail -n 2"
kill -TERM $cas_pid
wait $cas_pid || wrong 'the second stateproxyd did not end well'
cas_pid=''

# ---- streaming ----

title 'a large file through little memory, on a third mount with variant s3-passthrough'
mkdir "$work/stream" "$work/nothing"
STATE_MOUNT=$work/stream STATE_VARIANT=s3-passthrough STATEPROXY_CONTROL_SOCKET=$work/stream.sock \
    STATEPROXY_MEMORY_LIMIT=64Mi STATEPROXY_BUFFER_DIR=$work/nothing ./stateproxyd >"$work/stream.log" 2>&1 &
stream_pid=$!
stream_is_ready() { grep -q ' ready ' "$work/stream.log" || { kill -0 "$stream_pid" || wrong 'stateproxyd ended'; false; }; }
wait_for 'the third stateproxyd does not get ready' stream_is_ready
# Memory of the daemon and its children, shared pages once, and what its memory files hold.
memory_mib() {
    local pid fd all=0
    for fd in "/proc/$stream_pid/fd/"*; do
        [[ $(readlink "$fd") != /memfd:stateproxy-spool* ]] || all=$((all + $(stat -Lc %b "$fd") / 2))
    done
    for pid in $stream_pid $(pgrep -P $stream_pid); do
        all=$((all + $(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || echo 0)))
    done
    echo $((all / 1024))
}
echo '$ dd if=model.bin of=stream/checkpoint.bin bs=1M &      # with memory.limit: 64Mi'
dd if="$work/model.bin" of="$work/stream/checkpoint.bin" bs=1M 2>/dev/null &
dd_pid=$!
most=$(memory_mib)
while kill -0 $dd_pid 2>/dev/null; do
    now=$(memory_mib)
    [ "$now" -le "$most" ] || most=$now
    sleep 0.05
done
wait $dd_pid || wrong 'the copy failed'
echo "the daemon had at most $most MiB while $(stat -c %s "$work/model.bin") bytes went through it"
[ "$most" -le 64 ] || wrong 'that is more than 64 MiB'
s3 GET models/checkpoint.bin | cmp - "$work/model.bin" || wrong 'checkpoint.bin is otherwise on the server'
kill -TERM $stream_pid
wait $stream_pid || wrong 'the third stateproxyd did not end well'
stream_pid=''

title 'unmount'
echo '$ kill -TERM STATEPROXYD'
kill -TERM $daemon_pid
status=0
wait $daemon_pid || status=$?
daemon_pid=''
[ $status -eq 0 ] || wrong "stateproxyd ended with $status"
! mountpoint -q "$mnt" || wrong 'the mount is still there'
tail -n 1 "$work/log"

printf '\nAll is as it should be. README.md tells how to run it by hand; tools/test.sh runs the tests.\n'
