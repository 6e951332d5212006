#!/usr/bin/env bash
# Measures tidings serve over TLS, by itself (--tls-cert) and behind nginx that has the
# certificate, with HTTP/1.1 and HTTP/2. It prints a table in Markdown: what a delivery costs
# the server, or the server and nginx, deliveries a second, and memory for a stream at rest.
#
# Usage: bench/tls.sh [LOAD...]
# A LOAD is alone, eight or flood: messages one at a time, eight in flight, 64 in flight.
. "$(dirname "$0")/sitting.sh"

loads=${*:-alone eight flood}
proxy= # the pid of nginx, or empty
trap '[ -z "$proxy" ] || stop "$proxy"; finish' EXIT

streams=$(scaled 5000)
per_connection=50 # of HTTP/2, as in a browser
command -v nginx >/dev/null || { say "there is no nginx"; exit 2; }

build_tidings
(cd "$bench" && go build -o "$work/load" ./load)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
	-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/openssl.log"

# proxy: starts nginx with TLS on the port after the server's, and adds it to pids.
proxy() {
	mkdir -p "$data/nginx"
	cat >"$data/nginx.conf" <<-END
		daemon off; worker_processes 1; pid $data/nginx/pid; error_log stderr error;
		worker_rlimit_nofile 40000;
		events { worker_connections 20000; }
		http {
			access_log off; client_body_temp_path $data/nginx/body; proxy_temp_path $data/nginx/proxy;
			fastcgi_temp_path $data/nginx/f; uwsgi_temp_path $data/nginx/u; scgi_temp_path $data/nginx/s;
			server {
				listen 127.0.0.1:$((port + 1)) ssl http2; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;
				location / { proxy_pass http://127.0.0.1:$port; proxy_http_version 1.1; proxy_set_header Connection ""; }
			}
		}
	END
	nginx -e stderr -c "$data/nginx.conf" >"$work/nginx.log" 2>&1 &
	proxy=$!
	local tries=0
	until (exec 3<>/dev/tcp/127.0.0.1/$((port + 1))) 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || { cat "$work/nginx.log" >&2; return 1; }
		sleep 0.05
	done
	pids="$server $proxy $(cat /proc/$proxy/task/$proxy/children)"
}

# cell SIDE PROTOCOL LOAD MESSAGES FLIGHT: measures one cell on a new server.
cell() {
	local name=$1-$2-$3 secure flags=() pid
	say "run $r of $RUNS: $name"
	if [ "$1" = own ]; then
		serve tidings --tls-cert "$work/cert.pem" --tls-key "$work/key.pem" || return 0
		secure=$port
	else
		serve tidings || return 0
		proxy || { unserve; return 0; }
		secure=$((port + 1))
	fi
	for pid in $pids; do flags+=(-pid "$pid"); done
	run "$work/load" tls -addr 127.0.0.1:$port -tls 127.0.0.1:$secure "${flags[@]}" -protocol "$2" -streams "$streams" \
		-connections $(((streams + per_connection - 1) / per_connection)) -messages "$4" -flight "$5" -idle 5s -bound 10m >>"$results/$name" || say "$name: the load failed"
	[ -z "$proxy" ] || stop "$proxy"
	proxy=
	unserve
}

for r in $(seq "$RUNS"); do
	for protocol in h1 h2; do
		for side in own nginx; do
			for load in $loads; do
				case $load in
				alone) cell $side $protocol "$load" "$(scaled 100)" 1 ;;
				eight) cell $side $protocol "$load" "$(scaled 400)" 8 ;;
				flood) cell $side $protocol "$load" "$(scaled 2000)" 64 ;;
				*) say "there is no load $load"; exit 2 ;;
				esac
			done
		done
	done
done

machine
printf '\n%s streams; %s on a connection of HTTP/2. "nginx" is nginx with TLS and one worker, and the hub, together.\n\n' "$streams" $per_connection
printf '| | load | µs of CPU for a delivery | deliveries a second | kB for a stream at rest | missing, out of order, closed |\n|---|---|---|---|---|---|\n'
for protocol in h1 h2; do
	for load in $loads; do
		for side in own nginx; do
			c=$side-$protocol-$load
			printf '| %s, %s | %s | %s (%s to %s) | %s | %s | %s, %s, %s%s |\n' "$protocol" $side $load \
				"$(median "$c" srv_us_per_deliv)" "$(lowest "$c" srv_us_per_deliv)" "$(highest "$c" srv_us_per_deliv)" \
				"$(median "$c" deliv_per_s)" "$(median "$c" kb_per_stream)" \
				"$(total "$c" missing)" "$(total "$c" bad_order)" "$(total "$c" closed)" "$(lacking "$c" srv_us_per_deliv)"
		done
	done
done
