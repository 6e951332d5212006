# Functions for peers.sh, fanout.sh and publish.sh, which source this file.
#
# A sitting has RUNS runs of several cells. A cell is a new server, with a fresh port
# and fresh data, and a load on it. Each run has every cell once, so that other work
# of the machine affects all cells alike. The results of a cell are lines of JSON in
# the file $results/CELL.
# shellcheck shell=bash
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(dirname "$bench")
PATH=$PATH:/usr/sbin:/sbin # where Debian puts nginx

RUNS=${RUNS:-5}   # number of runs of each cell
SCALE=${SCALE:-1} # divides subscribers and messages, for a quick try
TIDINGS=${TIDINGS:-}             # a binary to measure instead of the tree's
TIDINGS_FLAGS=${TIDINGS_FLAGS:-} # more flags for tidings serve

work=$(mktemp -d "${TMPDIR:-/tmp}/tidings-bench.XXXXXX")
results=$work/results
data=$work/data # the folder for the server's data
mkdir "$results"
port=$((20000 + RANDOM % 8000))
server= # the pid of the running server, or empty
client= # the pid of the load, or empty
asking= # the pid of a second load beside it, or empty

say() { printf '%s\n' "$*" >&2; }

# stop PID: ends a child process, and returns when it is gone.
stop() {
	kill "$1" 2>/dev/null || true
	local tries=0
	while kill -0 "$1" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -ne 300 ] || kill -KILL "$1" 2>/dev/null || true
		sleep 0.05
	done
	wait "$1" 2>/dev/null || true
}

finish() {
	trap - EXIT
	[ -z "$client" ] || stop "$client"
	[ -z "$asking" ] || stop "$asking"
	[ -z "$server" ] || stop "$server"
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Raise the limit of descriptors: each subscriber needs one on either side.
ulimit -S -n "$(ulimit -H -n)"

# build: builds the programs that a sitting with subscribers needs.
build() {
	build_tidings
	gcc -O2 -o "$work/fanload" "$bench/fanload.c" 2>"$work/gcc.log" || { cat "$work/gcc.log" >&2; return 1; }
	gcc -O2 -o "$work/floor" "$bench/floor.c" 2>"$work/gcc.log" || { cat "$work/gcc.log" >&2; return 1; }
}

# build_tidings: builds the tree's tidings, unless TIDINGS names one.
build_tidings() {
	say "building"
	if [ -z "$TIDINGS" ]; then
		TIDINGS=$work/tidings
		(cd "$tree" && go build -o "$TIDINGS" ./cmd/tidings)
	fi
}

# serve NAME [FLAG...]: starts a server with a fresh port and fresh data, waits until
# it listens, and sets server, port and pids. tlshub also uses the next port, for
# TLS. FLAGs are for tidings serve.
serve() {
	rm -rf "$data"
	mkdir -p "$data"
	serve_again "$@"
}

# serve_again NAME [FLAG...]: the same, with the data that is in the folder $data.
serve_again() {
	local name=$1
	shift
	port=$((port + 2))
	(
		case $name in
		floor) exec "$work/floor" $port ;;
		# shellcheck disable=SC2086 # flags are a list of words
		tidings) exec "$TIDINGS" serve --addr 127.0.0.1:$port --data "$data/log" $TIDINGS_FLAGS "$@" ;;
		tlshub) exec "$TLSHUB" "$data/log" $port $((port + 1)) ;;
		yardstick) exec "$work/publish" serve -addr 127.0.0.1:$port ;;
		nchan) nchan_conf "$data" $port && exec nginx -e stderr -c "$data/nginx.conf" ;;
		*) exec "$work/peers/$name" $port ;;
		esac
	) >"$work/server.log" 2>&1 &
	server=$!
	local tries=0
	until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 300 ] || ! kill -0 $server 2>/dev/null; then
			say "$name does not listen:"
			cat "$work/server.log" >&2
			return 1
		fi
		sleep 0.05
	done
	pids=$server
	[ "$name" != nchan ] || pids="$server $(cat /proc/$server/task/$server/children)"
	sleep 0.5
}

# unserve: ends the server.
unserve() {
	stop "$server"
	server=
}

# run COMMAND...: runs a load. A signal to this script ends the load at once.
run() {
	"$@" &
	client=$!
	local status=0
	wait $client || status=$?
	client=
	return $status
}

# fanload CELL PATHS FLAGS...: puts a load on the running server. PATHS are the path
# for subscribing and the path for publishing.
fanload() {
	local cell=$1 paths=$2 flags=()
	shift 2
	for pid in $pids; do flags+=(-i "$pid"); done
	run "$work/fanload" "${flags[@]}" -p $port -u "${paths% *}" -U "${paths#* }" -X $'Content-Type: text/plain\r\n' -B '{}' \
		-s 100 -l "$cell" "$@" >>"$results/$cell" || say "$cell: fanload failed"
}

# scaled N: N divided by SCALE.
scaled() { echo $(($1 / SCALE)); }

# values CELL KEY [N]: prints the value of KEY, or of its Nth occurrence, in each run.
values() {
	[ -e "$results/$1" ] || return 0
	awk -v key="\"$2\":" -v nth="${3:-1}" '{
		rest = $0
		for (n = 1; (i = index(rest, key)) > 0; n++) {
			rest = substr(rest, i + length(key))
			if (n == nth) { match(rest, /^-?[0-9.e+]+/); print substr(rest, 1, RLENGTH); break }
		}
	}' "$results/$1"
}

# median CELL KEY [N], lowest, highest, total: print that value over the runs. If there
# is no value, all except total print nothing.
median() { values "$@" | sort -g | awk '{ v[NR] = $1 } END { if (NR) printf "%.10g\n", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
lowest() { values "$@" | sort -g | head -n 1; }
highest() { values "$@" | sort -g | tail -n 1; }
total() { values "$@" | awk '{ t += $1 } END { printf "%.0f\n", t }'; }

# lacking CELL KEY: prints how many runs have no figure, if any.
lacking() {
	local runs
	runs=$(values "$1" "$2" | wc -l)
	[ "$runs" = "$RUNS" ] || echo ", $((RUNS - runs)) of $RUNS runs without a result"
}

# against A B: prints A divided by B, or nothing if one is missing or B is 0.
against() { [ -z "$1" ] || [ "${2:-0}" = 0 ] || calc "$1 / $2" '%.3f'; }

# calc EXPRESSION [FORMAT]: prints awk's result, or "–" if a figure is missing, which
# makes the expression invalid.
calc() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }" 2>/dev/null || printf '–'; }

# machine: prints the line about the machine, which every figure needs.
machine() {
	local model
	model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
	printf '%s, %s cores, %s MB, Linux %s, %s, %s; tree %s; medians of %s\n' "${model:-$(uname -m)}" "$(nproc)" \
		"$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)" "$(uname -r)" "$(go env GOVERSION)" "$(date -u +%F)" \
		"$(git -C "$tree" describe --tags --always --dirty 2>/dev/null || echo unknown)" "$RUNS"
	[ "$SCALE" = 1 ] || printf '\nSCALE=%s: too small for figures that mean something.\n' "$SCALE"
}
