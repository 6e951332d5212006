#!/usr/bin/env bash
# Measures whether tidings serve reaches its performance targets. It prints a table in
# Markdown, and exits with 1 if it misses one. The usual rows take about 20 minutes.
# README.md beside this file describes each row.
#
# BEFORE is a binary of an earlier commit. With it, each run measures each cell with
# both binaries, one after the other, and the table shows both. A row is WORSE if its
# median is worse than all runs of the earlier binary.
#
# Both run with --sync 1s. The rows alone, eight and flood show the figures with the
# default, --sync always, beside that.
#
# Usage: bench/fanout.sh [-r ROW[,ROW...]]
# shellcheck disable=SC2329 # some functions are called by name
. "$(dirname "$0")/sitting.sh"

TIDINGS_FLAGS="--sync 1s $TIDINGS_FLAGS"
BEFORE=${BEFORE:-}           # the tidings of an earlier commit
BEFORE_TLS=${BEFORE_TLS:-}   # the tlshub of that commit, for the rows over TLS
BEFORE_TREE=${BEFORE_TREE:-} # a checkout of that commit, to build those of the two that are not given

usual='alone eight flood memory gets every connects topics storm'
net='net-alone net-eight net-flood net-idle net-quiet net-topics'
tls='tls-h2-eight tls-h2-flood tls-h1-eight tls-h1-flood'
rows=$usual
while getopts r: flag; do
	case $flag in
	r) rows=${OPTARG//,/ } ;;
	*) exit 2 ;;
	esac
done
known=" $usual apart $net $tls "
asked=$rows rows=
for row in $asked; do
	case $row in
	usual) row=$usual ;;
	net) row=$net ;;
	tls) row=$tls ;;
	*) case $known in *" $row "*) ;; *) say "no row is called $row"; exit 2 ;; esac ;;
	esac
	rows="$rows $row"
done
wanted() { for w; do case " $rows " in *" $w "*) return 0 ;; esac done; return 1; }

paths='/events /topics/messages'
n=$(scaled 5000)
streams=$(scaled 500) # over TLS
many_topics=$(scaled 10000) # in the rows topics and net-topics, each with a subscriber
net_http=--take-over=false

# each FUNCTION ARGUMENT...: calls FUNCTION for the tree's binaries, and for the earlier
# ones if there are any. The order alternates from run to run. The cells of the
# earlier binaries have the prefix "before-", which is in the variable at.
each() {
	local side sides=after
	if [ "$comparing" ]; then
		sides='before after'
		[ $((r % 2)) = 1 ] || sides='after before'
	fi
	for side in $sides; do
		at= TIDINGS=$after TLSHUB=$after_tls
		[ $side = after ] || at=before- TIDINGS=$BEFORE TLSHUB=$BEFORE_TLS
		"$@"
	done
}

# progress CELL: prints which run and cell begins.
progress() { say "run $r of $RUNS: $at$1"; }

# cell NAME SERVER-FLAGS FLAGS...: runs fanload on a new tidings serve.
cell() {
	local name=$1 flags=$2
	shift 2
	progress "$name"
	# shellcheck disable=SC2086 # flags are a list of words
	serve tidings $flags || return 0
	fanload "$at$name" "$paths" "$@"
	unserve
}

# always NAME FLAGS...: runs the tree's tidings serve, with its default of --sync.
always() {
	local name=$1
	shift
	at= TIDINGS=$after
	cell "$name-always" '--sync always' "$@"
}

# load CELL COMMAND FLAGS...: runs the other load generator, bench/load.
load() {
	local name=$at$1
	shift
	run "$work/load" "$@" >>"$results/$name" || say "$name: load failed"
}

# beside CELL SERVER-FLAGS COMMAND FANLOAD-FLAGS...: runs COMMAND of bench/load, which
# sends a request every 20 ms, while fanload sends messages to all subscribers.
beside() {
	local name=$1 flags=$2 command=$3
	shift 3
	progress "$name"
	# shellcheck disable=SC2086 # flags are a list of words
	serve tidings $flags || return 0
	"$work/load" "$command" -addr 127.0.0.1:$port -for "$length" >>"$results/$at$name" &
	asking=$!
	fanload "$at$name-load" "$paths" -n "$n" "$@"
	wait $asking || say "$at$name: load failed"
	asking=
	unserve
}

# topics: measures a message to one of many topics, and a message to the only topic.
topics() {
	local count
	for count in 1 "$many_topics"; do
		progress "topics, $count"
		serve tidings || continue
		load "topics-$count" topics -addr 127.0.0.1:$port -pid "$server" -topics "$count" \
			-warm "$(scaled 10000)" -messages "$(scaled 20000)"
		unserve
	done
}

# net_topics: measures a message to a topic without subscribers, alone and beside many
# streams through net/http. GOGC is off, to leave out the cost of a larger heap.
net_topics() {
	local count
	for count in 0 "$many_topics"; do
		progress "net-topics, $count"
		GOGC=off serve tidings $net_http --keep-alive 0 || continue
		load "net-topics-$count" topics -apart -addr 127.0.0.1:$port -pid "$server" -topics "$count" \
			-warm "$(scaled 2000)" -messages "$(scaled 20000)"
		unserve
	done
}

# storm NAME FLAGS...: many subscribers drop and reconnect.
storm() {
	local name=$1
	shift
	progress "$name"
	serve tidings || return 0
	load "$name" storm "$@" -addr 127.0.0.1:$port -others "$(scaled 1000)" -returning "$(scaled 10000)" -behind 500 -rate 10 -before 5s
	unserve
}

# tls NAME PROTOCOL MESSAGES FLIGHT: measures streams over TLS on a new tlshub.
tls() {
	progress "$1"
	serve tlshub || return 0
	load "$1" tls -addr 127.0.0.1:$port -tls 127.0.0.1:$((port + 1)) -pid "$server" -protocol "$2" \
		-streams "$streams" -connections 10 -messages "$(scaled "$3")" -flight "$4"
	unserve
}

comparing=$BEFORE$BEFORE_TLS$BEFORE_TREE
if [ "$comparing" ] && [ -z "$BEFORE_TREE" ]; then
	for row in $rows; do
		case $row in
		tls-*) [ -x "$BEFORE_TLS" ] || { say "$row needs BEFORE_TLS, the path of an earlier tlshub"; exit 2; } ;;
		*) [ -x "$BEFORE" ] || { say "$row needs BEFORE, the path of an earlier tidings"; exit 2; } ;;
		esac
	done
fi
TLSHUB=
build
(cd "$bench" && go build -o "$work/load" ./load)
# shellcheck disable=SC2086 # rows are a list of words
if wanted $tls; then
	TLSHUB=$work/tlshub
	(cd "$bench" && go build -o "$TLSHUB" ./tlshub)
fi
after=$TIDINGS after_tls=$TLSHUB
if [ "$BEFORE_TREE" ] && [ -z "$BEFORE" ]; then
	BEFORE=$work/before-tidings
	(cd "$BEFORE_TREE" && go build -o "$BEFORE" ./cmd/tidings)
fi
if [ "$BEFORE_TREE" ] && [ -z "$BEFORE_TLS" ] && [ "$TLSHUB" ]; then
	BEFORE_TLS=$work/before-tlshub
	"$bench/tlshub/build.sh" "$BEFORE_TREE" "$BEFORE_TLS"
fi

for r in $(seq "$RUNS"); do
	if wanted alone eight connects; then
		say "run $r of $RUNS: floor"
		serve floor
		fanload floor '/events /messages' -n "$n" -m "$(scaled 100)" -w 1 -I 2 -T 60
		unserve
	fi
	if wanted alone connects; then each cell alone '' -n "$n" -m "$(scaled 100)" -w 1 -I 2 -T 60; fi
	if wanted alone; then always alone -n "$n" -m "$(scaled 100)" -w 1 -I 2 -T 60; fi
	if wanted eight; then
		each cell eight '' -n "$n" -m "$(scaled 400)" -w 8 -I 2 -T 60
		always eight -n "$n" -m "$(scaled 400)" -w 8 -I 2 -T 60
	fi
	if wanted flood; then
		each cell flood '' -n "$n" -m "$(scaled 2000)" -w 64 -I 2 -T 120
		always flood -n "$n" -m "$(scaled 2000)" -w 64 -I 2 -T 120
	fi
	if wanted memory; then each cell memory '' -n "$(scaled 10000)" -m "$(scaled 1000)" -w 64 -I 5 -T 120; fi
	if wanted every; then each cell every '' -n "$(scaled 15000)" -m "$(scaled 100)" -w 8 -I 2 -T 60; fi
	if wanted gets; then
		length=$(scaled 20000)ms
		each beside gets '' gets -m "$(scaled 345)" -r 15 -I 1 -T 60
	fi
	if wanted topics; then each topics; fi
	if wanted storm; then each storm storm; fi
	if wanted apart; then each storm apart -apart; fi
	if wanted net-alone net-idle; then each cell net-alone $net_http -n "$n" -m "$(scaled 60)" -w 1 -I 5 -T 120; fi
	if wanted net-eight; then each cell net-eight $net_http -n "$n" -m "$(scaled 240)" -w 8 -I 2 -T 120; fi
	if wanted net-flood; then each cell net-flood $net_http -n "$n" -m "$(scaled 1000)" -w 64 -I 2 -T 120; fi
	if wanted net-quiet; then
		# fanload must send as long as the measurement takes, and 3 s more to begin.
		# The number of messages depends on the server.
		length=$(scaled 15000)ms
		each beside net-quiet $net_http quiet -m 100000 -d $(($(scaled 15) + 3)) -w 8 -I 1 -T 60
	fi
	if wanted net-topics; then each net_topics; fi
	if wanted tls-h2-eight; then each tls tls-h2-eight h2 1000 8; fi
	if wanted tls-h2-flood; then each tls tls-h2-flood h2 4000 64; fi
	if wanted tls-h1-eight; then each tls tls-h1-eight h1 1000 8; fi
	if wanted tls-h1-flood; then each tls tls-h1-flood h1 4000 64; fi
done

# wrong CELL KEY...: prints the KEYs of a cell that are not 0, and missing runs.
wrong() {
	local name=$1 key t out
	shift
	out=$(lacking "$name" "$1")
	for key; do
		t=$(total "$name" "$key")
		[ "$t" = 0 ] || out="$out, $key $t"
	done
	echo "${out#, }"
}
faults() { wrong "$1" failed missing uneven closed bad_order pub_err; }

# worse CELL KEY BAD [N]: reports whether the median is worse than all runs of the
# earlier binary, or a figure is missing. BAD is ">" if high figures are bad, else "<".
worse() {
	local m was=
	m=$(median "$1" "$2" "${4:-1}")
	case $3 in
	'>') was=$(highest "before-$1" "$2" "${4:-1}") ;;
	'<') was=$(lowest "before-$1" "$2" "${4:-1}") ;;
	esac
	[ -z "$m" ] || [ -z "$was" ] || awk "BEGIN { exit !($m $3 $was) }"
}

# verdict MEASURED MUST AIM WRONG [WORSE]: sets outcome. MUST and AIM have the form
# "<= 1.25" or are empty. WORSE has the arguments of worse, or is empty.
failed=
verdict() {
	local word=FAIL
	if [ -z "$4" ] && [ -z "$2" ]; then
		word=–
	elif [ -n "$1" ] && [ -z "$4" ] && awk "BEGIN { exit !($1 $2) }"; then
		word=pass
		if [ -n "$3" ] && awk "BEGIN { exit !($1 $3) }"; then word=aim; fi
	fi
	# shellcheck disable=SC2086 # a list of words
	if [ "$comparing" ] && [ -n "${5:-}" ] && worse $5; then
		case $word in
		FAIL) word='FAIL, WORSE' ;;
		*) word=WORSE ;;
		esac
	fi
	case $word in *FAIL* | WORSE) failed=1 ;; esac
	outcome="**$word**${4:+ ($4)}"
	[ "$word" != – ] || outcome=$word
}

# row WHAT MEASURED MUST AIM WRONG WORSE DETAIL: prints a row of the table. DETAIL is a
# function that prints the figures of the cells with its argument as a prefix.
row() {
	verdict "$2" "$3" "$4" "$5" "$6"
	printf '| %s | %s | %s | %s | %s |' "$1" "$3" "$4" "${2:-–}" "$outcome"
	# shellcheck disable=SC2086 # a list of words
	[ -z "$comparing" ] || printf ' %s%s |' "$("$7" before-)" "$([ -z "$6" ] || lacking before-${6% *})"
	printf ' %s |\n' "$("$7" '')"
}

# ratio_row WHAT CELL KEY BAD MUST AIM WRONG DETAIL: prints a row with the ratio to the
# earlier binary. Without an earlier binary, the row has only figures.
ratio_row() {
	if [ "$comparing" ]; then
		row "$1, × before" "$(against "$(median "$2" "$3")" "$(median "before-$2" "$3")")" "$5" "$6" "$7" "$2 $3 $4" "$8"
	else
		row "$1" "$(median "$2" "$3")" '' '' "$7" '' "$8"
	fi
}

# range CELL KEY [N]: prints the lowest and highest value of the runs, and before them
# the median if two binaries are compared.
range() {
	local all
	all="$(lowest "$@") to $(highest "$@")"
	[ -z "$comparing" ] || all="$(median "$@") ($all)"
	echo "$all"
}

# beside_always PREFIX CELL KEY: prints the figure with --sync always, for the tree's binary.
beside_always() { [ "$1" ] || echo "; always $(median "$2-always" "$3")"; }

cat <<TABLE
tidings serve with its embedded durable log and $TIDINGS_FLAGS; $n subscribers on one topic where nothing else is said, payload 100 bytes,
loopback, HTTP/1.1. The load generator shares the machine.
TABLE
# shellcheck disable=SC2086 # rows are a list of words
if wanted $net; then printf '\nnet/http: the same with %s.\n' $net_http; fi
# shellcheck disable=SC2086 # rows are a list of words
if wanted $tls; then printf '\nTLS: bench/tlshub, and %s streams.\n' "$streams"; fi
printf '\n%s\n' "$(machine)"
if [ "$comparing" ]; then
	[ -z "$BEFORE" ] || printf '\nBefore: %s.\n' "$("$BEFORE" --version)"
	printf '\nBefore and after: the median, and from the lowest to the highest of the runs.\n\n| | must | aim | measured | | before | after |\n|---|---|---|---|---|---|---|\n'
else
	printf '\n| | must | aim | measured | | in figures, from the lowest to the highest of the runs |\n|---|---|---|---|---|---|\n'
fi

us=srv_us_per_deliv
floor=$(median floor $us)
if wanted alone; then
	detail() { echo "$(range "$1alone" $us) µs; floor $(range floor $us) µs$(beside_always "$1" alone $us)"; }
	row 'CPU per delivery, messages alone, × the floor' "$(against "$(median alone $us)" "$floor")" '<= 1.25' '<= 1.1' "$(faults alone)" \
		"alone $us >" detail
fi
if wanted eight; then
	detail() { echo "$(range "$1eight" $us) µs; $(range "$1eight" deliv_per_s) deliveries/s$(beside_always "$1" eight $us)"; }
	row 'CPU per delivery, eight in flight, × the floor alone' "$(against "$(median eight $us)" "$floor")" '<= 0.33' '<= 0.22' "$(faults eight)" \
		"eight $us >" detail
fi
if wanted flood; then
	detail() { echo "$(range "$1flood" deliv_per_s); $(range "$1flood" $us) µs$(beside_always "$1" flood deliv_per_s)"; }
	row 'deliveries a second, 64 in flight' "$(median flood deliv_per_s)" '>= 2000000' '>= 4000000' "$(faults flood)" \
		'flood deliv_per_s <' detail
fi
if wanted memory; then
	detail() { range "$1memory" kB_per_idle_sub; }
	row "kB per idle subscriber, $(scaled 10000) of them, after 5 s" "$(median memory kB_per_idle_sub)" '<= 1.2' '<= 0.7' "$(faults memory)" \
		'memory kB_per_idle_sub >' detail
	detail() { range "$1memory" kB_per_sub_after; }
	row "kB per subscriber, after $(scaled 1000) messages to each" "$(median memory kB_per_sub_after)" '<= 1.5' '<= 0.8' "$(faults memory)" \
		'memory kB_per_sub_after >' detail
fi
if wanted gets; then
	detail() { echo "$(range "$1gets" p99_ms); p50 $(range "$1gets" p50_ms), p90 $(range "$1gets" p90_ms)"; }
	row 'GET /topics during fan-out at 15 messages/s, p99, ms' "$(median gets p99_ms)" '<= 10' '<= 4' "$(faults gets-load)" \
		'gets p99_ms >' detail
fi
if wanted every; then
	detail() { echo "$(total "$1every" delivered) delivered in $RUNS runs; $(range "$1every" kB_per_idle_sub) kB per idle subscriber"; }
	row "$(scaled 15000) subscribers in one process, $(scaled 100) messages to each: not delivered once and in order" \
		"$(calc "$(total every missing) + $(total every uneven) + $(total every bad_order)" '%d')" '== 0' '' "$(faults every)" \
		'' detail
fi
if wanted connects; then
	detail() { echo "$(range "$1alone" conn_per_s); floor $(range floor conn_per_s)"; }
	row "connects a second, × the floor's" "$(against "$(median alone conn_per_s)" "$(median floor conn_per_s)")" '>= 0.5' '>= 0.8' "$(faults alone)" \
		'alone conn_per_s <' detail
fi
if wanted topics; then
	many=topics-$many_topics
	topics_wrong=$(wrong "$many" astray closed)
	topics_wrong=${topics_wrong:-$(wrong topics-1 astray closed)}
	detail() { echo "$(range "$1$many" srv_us_per_msg) µs; 1 topic $(range "$1topics-1" srv_us_per_msg) µs"; }
	row "CPU of a message to 1 of $many_topics topics, $many_topics subscribers, × 1 topic with 1 subscriber" \
		"$(against "$(median "$many" srv_us_per_msg)" "$(median topics-1 srv_us_per_msg)")" '<= 1.5' '' \
		"$topics_wrong" "$many srv_us_per_msg >" detail
fi
for name in storm apart; do
	wanted $name || continue
	storm_wrong=$(wrong $name missing disorder closed)
	[ "$(total $name caught_up)" = "$(total $name returning)" ] ||
		storm_wrong="${storm_wrong:+$storm_wrong, }$(total $name caught_up) of $(total $name returning) caught up"
	what="reconnect storm of $(scaled 10000), live p99 of $(scaled 1000) others, × before"
	[ $name = storm ] || what="the same, the others on a topic of their own"
	detail() {
		echo "before $(range "$1$name" p99_ms 1) ms, during $(range "$1$name" p99_ms 2) ms; all are back after $(range "$1$name" returned_ms) ms and have caught up after $(range "$1$name" caught_up_ms) ms"
	}
	row "$what" "$(median $name p99_ratio)" '<= 2' '' "$storm_wrong" "$name p99_ratio >" detail
done
if wanted net-alone; then
	detail() { echo "$(range "$1net-alone" $us) µs; $(range "$1net-alone" deliv_per_s) deliveries/s"; }
	ratio_row 'net/http: CPU per delivery, messages alone' net-alone $us '>' '<= 0.7' '<= 0.45' "$(faults net-alone)" detail
fi
if wanted net-eight; then
	detail() { echo "$(range "$1net-eight" $us) µs; $(range "$1net-eight" deliv_per_s) deliveries/s"; }
	ratio_row 'net/http: CPU per delivery, eight in flight' net-eight $us '>' '<= 0.3' '<= 0.2' "$(faults net-eight)" detail
fi
if wanted net-flood; then
	detail() { echo "$(range "$1net-flood" deliv_per_s); $(range "$1net-flood" $us) µs"; }
	ratio_row 'net/http: deliveries a second, 64 in flight' net-flood deliv_per_s '<' '>= 4' '>= 5' "$(faults net-flood)" detail
fi
if wanted net-idle; then
	detail() { range "$1net-alone" kB_per_idle_sub; }
	row "net/http: kB per idle subscriber, $n of them, after 5 s" "$(median net-alone kB_per_idle_sub)" '<= 37' '<= 28' "$(faults net-alone)" \
		'net-alone kB_per_idle_sub >' detail
fi
if wanted net-quiet; then
	detail() { echo "$(range "$1net-quiet" p50_ms); p99 $(range "$1net-quiet" p99_ms); of $(total "$1net-quiet" count) publishes; $(range "$1net-quiet-load" deliv_per_s) deliveries/s beside them"; }
	quiet_wrong=$(faults net-quiet-load)$(lacking net-quiet p50_ms)
	row 'net/http: acknowledgement on a quiet topic, eight in flight on the other, p50, ms' "$(median net-quiet p50_ms)" '<= 20' '' \
		"${quiet_wrong#, }" 'net-quiet p50_ms >' detail
fi
if wanted net-topics; then
	many=net-topics-$many_topics
	topics_wrong=$(wrong "$many" astray closed)
	topics_wrong=${topics_wrong:-$(wrong net-topics-0 astray closed)}
	detail() { echo "$(range "$1$many" srv_us_per_msg) µs; without $(range "$1net-topics-0" srv_us_per_msg) µs"; }
	row "net/http: CPU of a publish beside $many_topics subscribers on $many_topics other topics, × without, GOGC=off" \
		"$(against "$(median "$many" srv_us_per_msg)" "$(median net-topics-0 srv_us_per_msg)")" '<= 1.2' '' \
		"$topics_wrong" "$many srv_us_per_msg >" detail
fi
for name in h2 h1; do
	protocol='HTTP/2 over 10 connections'
	[ $name = h2 ] || protocol='HTTP/1.1'
	if wanted tls-$name-eight; then
		must='<= 0.4' aim=
		[ $name = h2 ] || must='< 1' aim='<= 0.4'
		detail() { echo "$(range "$1tls-$name-eight" $us) µs; $(range "$1tls-$name-eight" deliv_per_s) deliveries/s"; }
		ratio_row "TLS, $protocol: CPU per delivery, eight in flight" tls-$name-eight $us '>' "$must" "$aim" \
			"$(wrong tls-$name-eight missing bad_order closed)" detail
	fi
	if wanted tls-$name-flood; then
		must='>= 3' aim=
		[ $name = h2 ] || must='> 1' aim='>= 3'
		detail() { echo "$(range "$1tls-$name-flood" deliv_per_s); $(range "$1tls-$name-flood" $us) µs"; }
		ratio_row "TLS, $protocol: deliveries a second, 64 in flight" tls-$name-flood deliv_per_s '<' "$must" "$aim" \
			"$(wrong tls-$name-flood missing bad_order closed)" detail
	fi
done
[ -z "$failed" ]
