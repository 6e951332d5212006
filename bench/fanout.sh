#!/usr/bin/env bash
# Measures what the fan-out of tidings serve has to reach, and says whether it
# does: a table in Markdown, and exit status 1 when it does not. All of it takes
# about 20 minutes. README.md beside this file says what each row is.
#
# Usage: bench/fanout.sh [-r ROW[,ROW...]]
. "$(dirname "$0")/sitting.sh"

rows='alone eight flood memory gets every connects topics storm'
while getopts r: flag; do
	case $flag in
	r) rows=${OPTARG//,/ } ;;
	*) exit 2 ;;
	esac
done
for row in $rows; do
	case $row in
	alone | eight | flood | memory | gets | every | connects | topics | storm | apart) ;;
	*) say "no row is called $row"; exit 2 ;;
	esac
done
wanted() { for w; do case " $rows " in *" $w "*) return 0 ;; esac done; return 1; }

paths='/events /topics/messages'
n=$(scaled 5000)

# cell NAME FLAGS...: a fresh tidings serve, loaded by fanload.
cell() {
	local name=$1
	shift
	say "run $r of $RUNS: $name"
	serve tidings || return 0
	fanload "$name" "$paths" "$@"
	unserve
}

# load CELL COMMAND FLAGS...: the other load, of bench/load.
load() {
	local name=$1
	shift
	run "$work/load" "$@" >>"$results/$name" || say "$name: load failed"
}

# gets: a GET of /topics every 20 ms while 15 messages a second go to all.
gets() {
	say "run $r of $RUNS: gets"
	serve tidings || return 0
	"$work/load" gets -addr 127.0.0.1:$port -for "$(scaled 20000)ms" >>"$results/gets" &
	asking=$!
	fanload gets-load "$paths" -n "$n" -m "$(scaled 345)" -r 15 -I 1 -T 60
	wait $asking || say "gets: load failed"
	asking=
	unserve
}

# topics: a message to one of many topics, and one to the only one.
topics() {
	local count
	for count in 1 "$(scaled 10000)"; do
		say "run $r of $RUNS: topics, $count"
		serve tidings || continue
		load "topics-$count" topics -addr 127.0.0.1:$port -pid "$server" -topics "$count" \
			-warm "$(scaled 10000)" -messages "$(scaled 20000)"
		unserve
	done
}

# storm NAME FLAGS...: many drop and come back.
storm() {
	local name=$1
	shift
	say "run $r of $RUNS: $name"
	serve tidings || return 0
	load "$name" storm "$@" -addr 127.0.0.1:$port -others "$(scaled 1000)" -returning "$(scaled 10000)" -behind 500 -rate 10 -before 5s
	unserve
}

build
(cd "$bench" && go build -o "$work/load" ./load)
for r in $(seq "$RUNS"); do
	if wanted alone eight connects; then
		say "run $r of $RUNS: floor"
		serve floor
		fanload floor '/events /messages' -n "$n" -m "$(scaled 100)" -w 1 -I 2 -T 60
		unserve
	fi
	if wanted alone connects; then cell alone -n "$n" -m "$(scaled 100)" -w 1 -I 2 -T 60; fi
	if wanted eight; then cell eight -n "$n" -m "$(scaled 400)" -w 8 -I 2 -T 60; fi
	if wanted flood; then cell flood -n "$n" -m "$(scaled 2000)" -w 64 -I 2 -T 120; fi
	if wanted memory; then cell memory -n "$(scaled 10000)" -m "$(scaled 1000)" -w 64 -I 5 -T 120; fi
	if wanted every; then cell every -n "$(scaled 15000)" -m "$(scaled 100)" -w 8 -I 2 -T 60; fi
	if wanted gets; then gets; fi
	if wanted topics; then topics; fi
	if wanted storm; then storm storm; fi
	if wanted apart; then storm apart -apart; fi
done

# wrong CELL KEY...: what a cell has that should be 0, or too few runs of it.
wrong() {
	local name=$1 key runs t out=
	shift
	runs=$(values "$name" "$1" | wc -l)
	[ "$runs" = "$RUNS" ] || out=", $((RUNS - runs)) of $RUNS runs without a result"
	for key; do
		t=$(total "$name" "$key")
		[ "$t" = 0 ] || out="$out, $key $t"
	done
	echo "${out#, }"
}
faults() { wrong "$1" failed missing uneven closed bad_order pub_err; }

# verdict MEASURED MUST AIM WRONG: MUST is as "<= 1.25" and AIM too, or empty.
failed=
verdict() {
	local word=FAIL
	if [ -n "$1" ] && [ -z "$4" ] && awk "BEGIN { exit !($1 $2) }"; then
		word=pass
		if [ -n "$3" ] && awk "BEGIN { exit !($1 $3) }"; then word=aim; fi
	fi
	[ $word != FAIL ] || failed=1
	outcome="**$word**${4:+ ($4)}"
}

# row WHAT MEASURED MUST AIM WRONG DETAIL: prints a line of the table.
row() {
	verdict "$2" "$3" "$4" "$5"
	printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$3" "$4" "${2:-–}" "$outcome" "$6"
}

# against A B: the first divided by the second; nothing when one is missing.
against() { [ -z "$1" ] || [ -z "$2" ] || calc "$1 / $2" '%.3f'; }

# range CELL KEY [N]: from the lowest to the highest of the runs.
range() { echo "$(lowest "$@") to $(highest "$@")"; }

cat <<TABLE
tidings serve with its embedded durable log, default settings${TIDINGS_FLAGS:+ and $TIDINGS_FLAGS}; $n subscribers on one topic where nothing else is said, payload 100 bytes,
loopback, HTTP/1.1. The load generator shares the machine.

$(machine)

| | must | aim | measured | | in figures, from the lowest to the highest of the runs |
|---|---|---|---|---|---|
TABLE
us=srv_us_per_deliv
floor=$(median floor $us)
if wanted alone; then
	row 'CPU per delivery, messages alone, × the floor' "$(against "$(median alone $us)" "$floor")" '<= 1.25' '<= 1.1' "$(faults alone)" \
		"$(range alone $us) µs; floor $(range floor $us) µs"
fi
if wanted eight; then
	row 'CPU per delivery, eight in flight, × the floor alone' "$(against "$(median eight $us)" "$floor")" '<= 0.33' '<= 0.22' "$(faults eight)" \
		"$(range eight $us) µs; $(range eight deliv_per_s) deliveries/s"
fi
if wanted flood; then
	row 'deliveries a second, 64 in flight' "$(median flood deliv_per_s)" '>= 2000000' '>= 4000000' "$(faults flood)" \
		"$(range flood deliv_per_s); $(range flood $us) µs"
fi
if wanted memory; then
	row "kB per idle subscriber, $(scaled 10000) of them, after 5 s" "$(median memory kB_per_idle_sub)" '<= 1.2' '<= 0.7' "$(faults memory)" "$(range memory kB_per_idle_sub)"
	row "kB per subscriber, after $(scaled 1000) messages to each" "$(median memory kB_per_sub_after)" '<= 1.5' '<= 0.8' "$(faults memory)" "$(range memory kB_per_sub_after)"
fi
if wanted gets; then
	row 'GET /topics during fan-out at 15 messages/s, p99, ms' "$(median gets p99_ms)" '<= 10' '<= 4' "$(faults gets-load)" \
		"$(range gets p99_ms); p50 $(range gets p50_ms), p90 $(range gets p90_ms)"
fi
if wanted every; then
	row "$(scaled 15000) subscribers in one process, $(scaled 100) messages to each: not delivered once and in order" \
		"$(calc "$(total every missing) + $(total every uneven) + $(total every bad_order)" '%d')" '== 0' '' "$(faults every)" \
		"$(total every delivered) delivered in $RUNS runs; $(range every kB_per_idle_sub) kB per idle subscriber"
fi
if wanted connects; then
	row "connects a second, × the floor's" "$(against "$(median alone conn_per_s)" "$(median floor conn_per_s)")" '>= 0.5' '>= 0.8' "$(faults alone)" \
		"$(range alone conn_per_s); floor $(range floor conn_per_s)"
fi
if wanted topics; then
	many=topics-$(scaled 10000)
	topics_wrong=$(wrong "$many" astray closed)
	topics_wrong=${topics_wrong:-$(wrong topics-1 astray closed)}
	row "CPU of a message to 1 of $(scaled 10000) topics, $(scaled 10000) subscribers, × 1 topic with 1 subscriber" \
		"$(against "$(median "$many" srv_us_per_msg)" "$(median topics-1 srv_us_per_msg)")" '<= 1.5' '' \
		"$topics_wrong" \
		"$(range "$many" srv_us_per_msg) µs; 1 topic $(range topics-1 srv_us_per_msg) µs"
fi
for name in storm apart; do
	wanted $name || continue
	storm_wrong=$(wrong $name missing disorder closed)
	[ "$(total $name caught_up)" = "$(total $name returning)" ] ||
		storm_wrong="${storm_wrong:+$storm_wrong, }$(total $name caught_up) of $(total $name returning) caught up"
	what="reconnect storm of $(scaled 10000), live p99 of $(scaled 1000) others, × before"
	[ $name = storm ] || what="the same, the others on a topic of their own"
	row "$what" "$(median $name p99_ratio)" '<= 2' '' "$storm_wrong" \
		"before $(range $name p99_ms 1) ms, during $(range $name p99_ms 2) ms; all are back after $(range $name returned_ms) ms and have caught up after $(range $name caught_up_ms) ms"
done
[ -z "$failed" ]
