#!/bin/sh
# Installs the programs that the tests need and the machine lacks, from Debian's
# packages.
#
# It installs nothing if nothing is missing. It runs apt-get as root, or through a
# sudo that asks for no password. Where that is not possible, it prints a line for
# each missing program and succeeds: the tests that need it skip. With CI=true such
# tests fail, and the script exits with 1.
# "setup.sh soak" also installs what only make soak needs.
# SETUP_DRY_RUN=1 prints the commands instead of running them.
set -u

tools=$(dirname "$0")
purpose=${1:-}
dry_run=${SETUP_DRY_RUN:-}
packages=
missing=

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# need PACKAGES WHAT CONSEQUENCE: notes that WHAT is missing, and its packages.
need() {
	packages="$packages $1"
	missing="$missing$2: missing, so $3
"
}

have_browser() {
	for name in chromium chromium-browser google-chrome; do
		have "$name" && return 0
	done
	return 1
}

node_major() { node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0; }

look() {
	packages=
	missing=
	"$tools/cc-works.sh" || need "gcc libc6-dev" "a C compiler" "the tests run without the race detector"
	have curl || need "curl" "curl" "the tests that use it skip"
	have_browser || need "chromium" "Chromium" "the browser tests skip"
	have zsh || need "zsh" "zsh" "its completion is not tested"
	have fish || need "fish" "fish" "its completion is not tested"
	have python3 || need "python3" "Python" "its recipe is not tested"
	have php || need "php-cli" "PHP" "its recipe is not tested"
	have nginx || need "nginx-light" "nginx" "its tests skip"
	have caddy || need "caddy" "Caddy" "its recipe is not tested"
	have haproxy || need "haproxy" "HAProxy" "its recipe is not tested"
	have apache2 || need "apache2-bin" "Apache" "its recipe is not tested" # apache2-bin has no service
	have varnishd || need "varnish" "Varnish" "its recipe is not tested"
	if ! have node; then
		need "nodejs" "Node" "the test against Node's own server skips"
	elif [ "$(node_major)" -lt 18 ]; then
		need "nodejs" "Node 18 or later" "the test against Node's own server skips (found $(node --version 2>&1))"
	fi
	[ "$purpose" != soak ] || have strace || need "strace" "strace" "the tests of failing disks skip"
	have npm || need "npm" "npm" "the tests with clients that others wrote skip"
	# Go needs certificates to fetch modules. Installing git may not install them.
	if have apt-get && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
		need "ca-certificates" "certificate authorities" "Go may not be able to fetch modules"
	fi
}

# as_root COMMAND...: runs COMMAND as root, or prints it.
as_root() {
	if [ -n "$dry_run" ]; then
		printf '%s%s\n' "${sudo:+$sudo }" "$*"
	else
		$sudo "$@" </dev/null
	fi
}

# Debian starts a service after its installation, and the proxies would take ports. A
# policy-rc.d that exits with 101 forbids that (invoke-rc.d(8)). If the machine
# already has a policy-rc.d, it stays.
policy=/usr/sbin/policy-rc.d
policy_ours=
forbid_services() {
	[ -e "$policy" ] && return
	if as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"; then
		policy_ours=1
	fi
}
allow_services() {
	[ -n "$policy_ours" ] && as_root rm -f "$policy"
	policy_ours=
}

# disable_services: keeps what was installed from starting at the next boot, either.
disable_services() {
	for package in $packages; do
		case $package in
		nginx-light) as_root update-rc.d nginx disable ;;
		haproxy) as_root update-rc.d haproxy disable ;;
		varnish)
			as_root update-rc.d varnish disable
			as_root update-rc.d varnishncsa disable
			;;
		caddy) ! have systemctl || as_root systemctl -q disable caddy ;; # has no init script
		esac
	done
}

install() {
	trap allow_services EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	forbid_services
	apt="env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq -o Dpkg::Use-Pty=0 -y"
	# shellcheck disable=SC2086 # $apt and $packages are lists of words
	as_root $apt update || say "apt-get update failed: continuing with the existing package lists"
	# shellcheck disable=SC2086
	as_root $apt install --no-install-recommends $packages
	status=$?
	disable_services
	allow_services
	trap - EXIT
	return $status
}

# Debian puts the proxies into a directory that is not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin
export PATH

have go || { say "Go is not in PATH"; exit 1; }
look
[ -n "$packages" ] || exit 0

if ! have apt-get; then
	say "this machine has no apt-get: please install the missing programs yourself"
elif [ "$(id -u)" = 0 ]; then
	sudo=
	install || say "apt-get failed"
	[ -n "$dry_run" ] || look
elif have sudo && sudo -n true 2>/dev/null; then
	sudo="sudo -n"
	install || say "apt-get failed"
	[ -n "$dry_run" ] || look
else
	say "neither root nor a sudo without a password: as root, run: apt-get install --no-install-recommends$packages"
fi

[ -n "$packages" ] || exit 0
printf '%s' "$missing" | while IFS= read -r line; do say "$line"; done
[ "${CI:-}" != true ]
