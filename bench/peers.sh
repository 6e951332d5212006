#!/usr/bin/env bash
# Measures tidings serve and its peers, one server after the other, with subscribers
# of one topic and payloads of 100 bytes. It prints a table in Markdown. That takes
# about 20 minutes, and with RUNS=1 a fifth of it. README.md has the details.
#
# Usage: bench/peers.sh [SERVER...]. The servers are listed below.
. "$(dirname "$0")/sitting.sh"

servers=${*:-floor tidings nchan gosse r3labs channel}
n=$(scaled 5000)
bound=120 # seconds until a load gives up

# label and paths print the name of a server in the table, and its paths.
label() {
	case $1 in
	floor) echo 'C, one write(2) per socket' ;;
	tidings) echo '**tidings serve**, durable log' ;;
	nchan) echo "Nchan $(nchan_version), nginx, 1 worker" ;;
	gosse) echo "tmaxmax/go-sse $(module_version github.com/tmaxmax/go-sse)" ;;
	r3labs) echo "r3labs/sse $(module_version github.com/r3labs/sse/v2)" ;;
	channel) echo 'net/http, a channel per client' ;;
	esac
}
paths() {
	case $1 in
	tidings) echo '/events /topics/messages' ;;
	r3labs) echo '/events?stream=messages /messages' ;;
	*) echo '/events /messages' ;;
	esac
}
module_version() { (cd "$bench" && go list -m -f '{{.Version}}' "$1"); }
nchan_version() { dpkg-query -W -f '${Version}' libnginx-mod-nchan 2>/dev/null | sed 's/^[0-9]*://; s/[+-].*//'; }

# nchan_conf DIR PORT: writes DIR/nginx.conf.
nchan_conf() { sed "s#@DIR@#$1#; s#@PORT@#$2#" "$bench/nchan.conf" >"$1/nginx.conf"; }

# have_nchan: reports whether nginx accepts the configuration with Nchan.
have_nchan() {
	command -v nginx >/dev/null || return 1
	mkdir -p "$work/try"
	nchan_conf "$work/try" $port
	nginx -t -q -e stderr -c "$work/try/nginx.conf" 2>/dev/null
}

# install_nchan: installs Nchan from Debian's packages. It does not install nginx:
# make setup does that without starting the service.
install_nchan() {
	command -v nginx >/dev/null || { say "nginx is missing: make setup installs it"; return 1; }
	command -v apt-get >/dev/null || { say "Nchan is missing, and there is no apt-get here"; return 1; }
	local sudo=
	if [ "$(id -u)" != 0 ]; then
		sudo='sudo -n'
		$sudo true 2>/dev/null || { say "Nchan is missing: as root, run: apt-get install --no-install-recommends libnginx-mod-nchan"; return 1; }
	fi
	say "installing libnginx-mod-nchan"
	local apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq -y"
	$apt update >&2 || true
	$apt install --no-install-recommends libnginx-mod-nchan >&2
}

build
mkdir "$work/peers"
(cd "$bench" && go build -o "$work/peers/" ./peers/...)
present=
for s in $servers; do
	[ -n "$(label "$s")" ] || { say "no server is called $s"; exit 2; }
	if [ "$s" = nchan ] && ! have_nchan && ! { install_nchan && have_nchan; }; then
		continue
	fi
	present="$present $s"
done

for r in $(seq "$RUNS"); do
	for s in $present; do
		for cell in 'alone 1 100' 'eight 8 160' 'flood 64 320'; do
			read -r name window messages <<<"$cell"
			say "run $r of $RUNS: $s, $name"
			serve "$s" || continue
			# go-sse answers only with the first message, so all subscribers must
			# connect at once. Otherwise each batch would take a second.
			conc=256
			[ "$s" != gosse ] || conc=$n
			fanload "$s-$name" "$(paths "$s")" -n "$n" -m "$(scaled "$messages")" -w "$window" -c $conc -I 2 -T $bound
			unserve
		done
	done
done

cat <<TABLE
$n subscribers on one topic, payload 100 bytes, loopback, HTTP/1.1; the load generator shares the machine. CPU is the server's own, user and system,
per delivered event, in brackets against the floor's alone. Idle is with nothing sent, after is after the messages of eight in flight.

$(machine)

| server | CPU µs per delivery, alone | eight in flight | 64 in flight | deliveries/s, eight | 64 | kB per idle subscriber | after | connects/s |
|---|---|---|---|---|---|---|---|---|
TABLE
floor=$(median floor-alone srv_us_per_deliv)
cpu() {
	local us
	us=$(median "$1" srv_us_per_deliv)
	echo "$(calc "$us") ($(calc "$us / $floor")×)"
}
for s in $servers; do
	case " $present " in
	*" $s "*) ;;
	*)
		echo "| $s | not installed | | | | | | | |"
		continue
		;;
	esac
	connects=–
	# fanload counts answers as connects: they are complete only if all answered.
	[ "$(total "$s-alone" answered)" != "$(total "$s-alone" subs)" ] || connects=$(calc "$(median "$s-alone" conn_per_s)" '%d')
	echo "| $(label "$s") | $(cpu "$s-alone") | $(cpu "$s-eight") | $(cpu "$s-flood") \
| $(calc "$(median "$s-eight" deliv_per_s)" '%d') | $(calc "$(median "$s-flood" deliv_per_s)" '%d') \
| $(calc "$(median "$s-alone" kB_per_idle_sub)" '%.1f') | $(calc "$(median "$s-eight" kB_per_sub_after)" '%.1f') | $connects |"
done

# List the faults.
for s in $present; do
	for name in alone eight flood; do
		cell=$s-$name wrong=
		runs=$(values "$cell" msgs | wc -l)
		[ "$runs" = "$RUNS" ] || wrong=", $((RUNS - runs)) of $RUNS runs without a result"
		for key in failed missing uneven closed bad_order pub_err; do
			t=$(total "$cell" $key)
			[ "$t" = 0 ] || wrong="$wrong, $key $t"
		done
		# If the last delivery came at the bound, the load gave up.
		if awk "BEGIN { exit !(0$(highest "$cell" wall_s) > $bound - 1) }"; then wrong="$wrong, not done after $bound s"; fi
		[ -z "$wrong" ] || remarks="${remarks:-}
- $s, $name: ${wrong#, }, of $(total "$cell" delivered) delivered in all runs"
	done
done
[ -z "${remarks:-}" ] || printf '\nNot all went as it should (what is missing, and subscribers that it is not even for; what came out of order; connections closed by the server):\n%s\n' "$remarks"
