#!/usr/bin/env bash
# Measures publishing to tidings serve, beside its yardsticks, and whether it reaches
# its targets. It prints a table in Markdown, and exits with 1 if it misses one. All
# rows take about 25 minutes, with BEFORE 45. README.md beside this file describes each row.
#
# BEFORE is a binary of an earlier commit. With it, each run measures each cell with
# both binaries, one after the other. The earlier binary runs with --sync 1s, the
# default, and the other one with --sync always.
#
# Usage: bench/publish.sh [-r ROW[,ROW...]]
# shellcheck disable=SC2329 # some functions are called by name
. "$(dirname "$0")/sitting.sh"

BEFORE=${BEFORE:-}                 # the tidings of an earlier commit
BEFORE_SYNC=${BEFORE_SYNC:-1s}     # its --sync
AFTER_SYNC=${AFTER_SYNC:-always}   # --sync of the other one
FILL_SYNC=${FILL_SYNC:-1s}         # --sync while a log is filled
SECONDS_SHORT=${SECONDS_SHORT:-5}  # length of a load
SECONDS_LONG=${SECONDS_LONG:-60}   # the same, in the rows steady and topics

known='singles batches ack replay resume steady topics start rest'
rows=$known
while getopts r: flag; do
	case $flag in
	r) rows=${OPTARG//,/ } ;;
	*) exit 2 ;;
	esac
done
for row in $rows; do
	case " $known " in *" $row "*) ;; *) say "no row is called $row"; exit 2 ;; esac
done
wanted() { for w; do case " $rows " in *" $w "*) return 0 ;; esac done; return 1; }
[ -z "$BEFORE" ] || [ -x "$BEFORE" ] || { say "$BEFORE is no program"; exit 2; }

few=1000 # messages, to compare a large log with
few_topics=200
replayed=$(scaled 1000000)
stored=$(scaled 5000000) # in the row resume
many_topics=$(scaled 1000000)
start_small=$(scaled 1000000)
start_large=$(scaled 10000000)
unlimited='--retention-bytes 0 --retention-age 0'
steady_bytes=134217728   # 128MiB
topics_bytes=1073741824  # 1GiB

# each FUNCTION ARGUMENT...: calls FUNCTION for the tree's binary, and for the earlier
# one if there is one. The order alternates from run to run. It sets TIDINGS, sync, and
# at, which is the prefix of the names of cells: "before-" or nothing.
each() {
	local side sides=after
	if [ "$BEFORE" ]; then
		sides='before after'
		[ $((r % 2)) = 1 ] || sides='after before'
	fi
	for side in $sides; do
		at= TIDINGS=$after sync=$AFTER_SYNC
		[ $side = after ] || at=before- TIDINGS=$BEFORE sync=$BEFORE_SYNC
		"$@"
	done
}

# ask CELL COMMAND FLAG...: runs bench/publish, and says which requests were refused.
ask() {
	local name=$at$1
	shift
	run "$work/publish" "$@" >"$work/answer" || say "$name: publish $1 failed"
	sed -n "/\"failed\":[^0]/ s/.*\"answers\":\({[^}]*}\).*/$name: \1/p" "$work/answer" >&2
	cat "$work/answer" >>"$results/$name"
}

# progress CELL: prints which run and cell begins.
progress() { say "run $r of $RUNS: $at$1"; }

# fill NAME COUNT TOPICS: stores COUNT messages in a folder of the current binary,
# which stays until the end. The messages go to one topic after the other.
fill() {
	say "filling: $at$1, $2 messages in $3 topics"
	local data=$work/filled/$at$1
	# shellcheck disable=SC2086 # flags are a list of words
	serve tidings --sync "$FILL_SYNC" $unlimited || return 0
	ask "fill-$1" load -addr 127.0.0.1:$port -c 8 -b 1000 -n "$2" -topics "$3" -within 15m
	unserve
}

# ready: waits until the running server has opened its log, by publishing a message.
ready() { run "$work/publish" load -addr 127.0.0.1:$port -c 1 -n 1 >/dev/null || say "the server does not answer"; }

# cell NAME SERVER-FLAGS FLAG...: publishes to a new tidings serve.
cell() {
	local name=$1 flags=$2
	shift 2
	progress "$name"
	# shellcheck disable=SC2086 # flags are a list of words
	serve tidings --sync $sync $flags || return 0
	ask "$name" load -addr 127.0.0.1:$port -i "$server" -data "$data" "$@"
	unserve
}

# replay: reads a filled log, as one client.
replay() {
	progress replay
	local data=$work/filled/${at}replay
	# shellcheck disable=SC2086 # flags are a list of words
	serve_again tidings --sync $sync --buffer 1 $unlimited || return 0
	ready
	ask replay replay -addr 127.0.0.1:$port -n "$replayed"
	unserve
}

# resume NAME TOPICS: resumes in a filled log, and reads its list of topics.
resume() {
	progress "resume, $1"
	local data=$work/filled/$at$1
	# shellcheck disable=SC2086 # flags are a list of words
	serve_again tidings --sync $sync --buffer 1 $unlimited || return 0
	ready
	ask "behind-$1" resume -within 1m -addr 127.0.0.1:$port -n 10 -times 1000 -d 10s
	ask "next-$1" resume -within 1m -addr 127.0.0.1:$port -n 1 -times 1000 -d 10s -middle -topics "$2"
	ask "pages-$1" topics -within 1m -addr 127.0.0.1:$port -limit 100 -pages 200 -d 10s -middle -topics "$2"
	unserve
}

# topics: publishes to topics that all have a message already, chosen at random.
topics() {
	progress topics
	rm -rf "$data"
	cp -r "$work/filled/${at}topics" "$data"
	sync -f "$work"
	serve_again tidings --sync $sync --retention-bytes $topics_bytes || return 0
	ready
	ask topics load -addr 127.0.0.1:$port -i "$server" -data "$data" -c 8 -b 100 -d "${SECONDS_LONG}s" -topics "$many_topics" -random
	unserve
}

# start NAME: ends and starts a server on a filled log.
start() {
	progress "start, $1"
	port=$((port + 2))
	# shellcheck disable=SC2086 # flags are a list of words
	ask "start-$1" start -addr 127.0.0.1:$port -log "$work/server.log" \
		"$TIDINGS" serve --addr 127.0.0.1:$port --data "$work/filled/${at}start-$1/log" --sync $sync $unlimited $TIDINGS_FLAGS
}

# rest: measures an idle server that has stored nothing.
rest() {
	progress rest
	serve tidings --sync $sync || return 0
	ask rest memory -i "$server" -d 2s
	unserve
}

# yardstick: publishes to a bare net/http handler.
yardstick() {
	progress yardstick
	serve yardstick || return 0
	ask yardstick load -addr 127.0.0.1:$port -c 64 -d "${SECONDS_SHORT}s"
	unserve
}

# disk: measures one append with fdatasync.
disk() {
	progress fsync
	ask fsync fsync -d 2s "$work"
}

case $(stat -f -c %T "$work") in
tmpfs | ramfs) say "$work is in memory, where fsync costs nothing: set TMPDIR to a folder on a disk" ;;
esac
build_tidings
(cd "$bench" && go build -o "$work/publish" ./publish)
# How much of a program is in memory depends on how its file was written: a copy of each
# makes them equal.
cp "$TIDINGS" "$work/after" && after=$work/after
[ -z "$BEFORE" ] || { cp "$BEFORE" "$work/before" && BEFORE=$work/before; }

# The fills come first, so that the runs do not wait for their pages to be written.
r=1
if wanted replay; then each fill replay "$replayed" 1; fi
if wanted resume; then
	each fill few $few $few_topics
	each fill stored "$stored" "$many_topics"
fi
if wanted topics; then each fill topics "$many_topics" "$many_topics"; fi
if wanted start; then
	each fill start-small "$start_small" 1000
	each fill start-large "$start_large" 1000
fi

for r in $(seq "$RUNS"); do
	sync -f "$work"
	at=
	if wanted rest topics; then each rest; fi
	if wanted singles; then
		at=
		yardstick
		each cell singles '' -c 64 -d "${SECONDS_SHORT}s"
	fi
	if wanted batches; then each cell batches '' -c 8 -b 100 -d "${SECONDS_SHORT}s"; fi
	if wanted ack; then
		at=
		disk
		each cell ack '' -c 1 -d "${SECONDS_SHORT}s"
	fi
	if wanted replay; then each replay; fi
	if wanted resume; then
		each resume few $few_topics
		each resume stored "$many_topics"
	fi
	if wanted steady; then each cell steady "--retention-bytes $steady_bytes" -c 8 -b 100 -d "${SECONDS_LONG}s" -topics 1000; fi
	if wanted topics; then each topics; fi
	if wanted start; then
		each start small
		each start large
	fi
done

# figures CELL KEY [KEY LABEL]: prints the median, the lowest and the highest value of
# the runs, and the median of another key.
figures() {
	local out
	out=$(median "$1" "$2")
	[ -n "$out" ] || { echo –; return; }
	[ "$RUNS" = 1 ] || out="$out ($(lowest "$1" "$2") to $(highest "$1" "$2"))"
	[ $# -lt 4 ] || out="$out, $4 $(median "$1" "$3")"
	echo "$out"
}

# faults CELL KEY: prints the faults of a cell: refused requests, runs without a result,
# and a log that was not filled.
faults() {
	local t out fills
	out=$(lacking "$1" "$2")
	t=$(total "$1" failed)
	[ "$t" = 0 ] || out="$out, failed $t"
	case $1 in
	replay) fills="replay $replayed" ;;
	*-stored) fills="stored $stored" ;;
	topics) fills="topics $many_topics" ;;
	start-small) fills="start-small $start_small" ;;
	start-large) fills="start-large $start_large" ;;
	*) fills= ;;
	esac
	if [ "$fills" ]; then
		t=$(total "fill-${fills% *}" messages)
		[ "$t" = "${fills#* }" ] || out="$out, $t of ${fills#* } messages stored before"
	fi
	echo "${out#, }"
}

# verdict VALUE MUST AIM FAULTS: prints whether VALUE reaches MUST and AIM, which have
# the form "<= 1.25" or are empty.
verdict() {
	local word=FAIL
	if [ -z "$2" ] && [ -z "$4" ]; then
		echo –
		return
	elif [ -n "$1" ] && [ -z "$4" ] && awk "BEGIN { exit !($1 $2) }" 2>/dev/null; then
		word=pass
		if [ -n "$3" ] && awk "BEGIN { exit !($1 $3) }"; then word=aim; fi
	fi
	echo "**$word**${4:+ ($4)}"
}

# line WHAT BEFORE AFTER RATIO TARGET VERDICT: prints a row of the table.
failed=
line() {
	case $6 in *FAIL*) failed=1 ;; esac
	printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "$3" "${4:-–}" "${5:-–}" "$6"
}

# ratio CELL KEY: prints the median divided by that of the earlier binary.
ratio() { against "$(median "$1" "$2")" "$(median "before-$1" "$2")"; }

# relative WHAT CELL KEY MUST: prints a row whose target is the ratio to the earlier
# binary. Without one it has figures only.
relative() {
	local value must=$4
	value=$(ratio "$2" "$3")
	[ "$BEFORE" ] || must=
	line "$1" "$(figures "before-$2" "$3")" "$(figures "$2" "$3")" "$value" "${must:+ratio $must}" \
		"$(verdict "$value" "$must" '' "$(faults "$2" "$3")")"
}

# absolute WHAT CELL KEY MUST [REASON [KEY LABEL]]: prints a row whose target is a
# number, or which has none if MUST is empty. REASON says where the number comes from.
absolute() {
	local what=$1 cell=$2 key=$3 must=$4 reason=${5:-}
	shift $(($# < 5 ? $# : 5))
	line "$what" "$(figures "before-$cell" "$key" "$@")" "$(figures "$cell" "$key" "$@")" "$(ratio "$cell" "$key")" \
		"${must:+after $must}${reason:+: $reason}" "$(verdict "$(median "$cell" "$key")" "$must" '' "$(faults "$cell" "$key")")"
}

# derived WHAT CELL KEY BEFORE AFTER MUST [AIM]: prints a row with values that are
# computed from several figures.
derived() {
	line "$1" "${4:-–}" "${5:-–}" "$(against "$5" "$4")" "after $6${7:+, aim $7}" "$(verdict "$5" "$6" "${7:-}" "$(faults "$2" "$3")")"
}

# less A B: prints A minus B, or nothing if one is missing.
less() { [ -z "$1" ] || [ -z "$2" ] || calc "$1 - $2" '%.1f'; }

cat <<TABLE
tidings serve with its embedded durable log over HTTP/1.1${TIDINGS_FLAGS:+, with $TIDINGS_FLAGS}; payload 100 bytes, loopback. Before has --sync $BEFORE_SYNC, after --sync $AFTER_SYNC.
The load generator shares the machine.

$(machine)

Before: $([ -z "$BEFORE" ] && echo none || "$BEFORE" --version). After: $("$after" --version). The median, and from the lowest to the highest of the runs. Ratio is after / before.
MB are millions of bytes.

| | before | after | ratio | target | |
|---|---|---|---|---|---|
TABLE

if wanted singles; then
	relative 'single messages a second, 64 connections' singles per_s '>= 1'
	yard=$(median yardstick per_s)
	derived "the same, × a bare net/http handler ($(figures yardstick per_s))" singles per_s \
		"$(against "$(median before-singles per_s)" "$yard")" "$(against "$(median singles per_s)" "$yard")" '>= 0.6' '>= 0.75'
	absolute 'the same, µs of CPU a request' singles srv_us_per_req ''
fi
if wanted batches; then
	relative 'messages a second in batches of 100, 8 connections' batches messages_per_s '>= 2'
fi
if wanted ack; then
	sync_p50=$(median fsync p50_ms)
	absolute 'acknowledged, 1 connection, p50, ms' ack p50_ms "<= $(calc "1.5 * $sync_p50 + 0.15" '%.3f')" \
		"1.5 × one fdatasync, $(figures fsync p50_ms), + 0.15" p99_ms p99
fi
if wanted replay; then
	relative "replay of $replayed, messages a second" replay messages_per_s '>= 1'
fi
if wanted resume; then
	absolute "ten behind, $stored stored, p50, ms" behind-stored p50_ms "<= $(calc "1.5 * $(median behind-few p50_ms) + 0.1" '%.3f')" \
		"1.5 × with $few stored, $(figures behind-few p50_ms), + 0.1" p99_ms p99
	absolute "the next message of 1 of $many_topics topics, $stored stored, p50, ms" next-stored p50_ms "<= $(calc "$(median next-few p50_ms) + 0.1" '%.3f')" \
		"with $few stored, $(figures next-few p50_ms), + 0.1" p99_ms p99
	absolute "a page of 100 of $many_topics topics, p50, ms" pages-stored p50_ms '<= 2' '' p99_ms p99
fi
if wanted steady; then
	what="steady, $SECONDS_LONG s"
	absolute "$what: messages a second" steady messages_per_s ''
	absolute "$what: acknowledged, p99.9, ms" steady p999_ms '<= 50' '' p50_ms p50
	absolute "$what: memory above rest, MB" steady above_rest_mb '<= 150' '' end_anon_mb 'anonymous at the end'
	absolute "$what: written / logical bytes" steady written_per_logical '<= 1.5'
	note=
	awk "BEGIN { exit !($(median steady logical_mb) * 1e6 < $steady_bytes) }" 2>/dev/null && note=', which was not reached'
	derived "$what: disk at the peak / retention$note" steady peak_disk_mb "$(against "$(median before-steady peak_disk_mb)" 134.218)" \
		"$(against "$(median steady peak_disk_mb)" 134.218)" '<= 1.3'
fi
if wanted topics; then
	what="$many_topics topics, $SECONDS_LONG s"
	absolute "$what: messages a second" topics messages_per_s ''
	absolute "$what: acknowledged, p99.9, ms" topics p999_ms '<= 100' '' p50_ms p50
	derived "$what: memory above an empty server's rest, MB" topics peak_rss_mb \
		"$(less "$(median before-topics peak_rss_mb)" "$(median before-rest rss_mb)")" \
		"$(less "$(median topics peak_rss_mb)" "$(median rest rss_mb)")" '<= 350'
	absolute "$what: written / logical bytes" topics written_per_logical '<= 3'
fi
if wanted start; then
	for end in kill end; do
		what='kill -9'
		[ $end = kill ] || what='a clean end'
		key=${end}_answered_ms
		absolute "start after $what, $start_large stored, ms until a message is acknowledged" start-large $key \
			"<= $(calc "$(median start-small $key) * 1.5 + 50 < 1000 ? $(median start-small $key) * 1.5 + 50 : 1000" '%.0f')" \
			"1.5 × with $start_small stored, $(figures start-small $key), + 50, and 1,000"
	done
fi
if wanted rest; then
	relative 'memory at rest, MB' rest rss_mb '<= 1'
fi
[ -z "$failed" ]
