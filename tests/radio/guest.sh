# shellcheck shell=bash
# For scenarios that run inside the virtual radio's guest: starts controllers,
# D-Bus and a stock bluetoothd, breaks them on purpose, and counts checks.
#
#   #!/bin/bash
#   set -euo pipefail
#   . "${RADIO_LIB:?run this with scripts/virtual-radio run}"
#   radio_up 2
#   make_connectable 1
#   check "the phone answers" l2ping -i hci0 -c 1 "$(adapter_addr 1)"
#
# hci0 is the machine the gateway runs on; hci1 and up are phones.  Nothing here
# makes hci0 connectable: that is the gateway's work, and so under test.

# Virtual pairings between two adapters of one bluetoothd leave stale link keys
# behind (EACCES for good), so Secure Simple Pairing is off unless a scenario says
# RADIO_SSP=on before radio_up, which then should pair fresh controllers only.
: "${RADIO_SSP:=off}"

# How long the radio's own parts may take to come up or go.  Seconds at most on an
# idle machine; an emulated one that has to share its processors took over 30.
: "${RADIO_PATIENCE_S:=120}"

RADIO_BTVIRT_PID=
RADIO_BLUETOOTHD_PID=
RADIO_PASSED=0
RADIO_FAILED=0

# --- waiting ---------------------------------------------------------------

# A process takes longer to start than most waits: nothing is ever written to it.
exec {RADIO_NEVER}<> <(:)
pause() { read -r -t "$1" -u "$RADIO_NEVER" || :; } # SECONDS

# await SECONDS COMMAND...: runs COMMAND until it succeeds; if it has not within
# SECONDS, prints what it said the last time and is false. What takes long is asked
# for less often: to ask is most of what an emulated processor does.
await() {
	local deadline_us=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	local said=/tmp/await.$BASHPID
	local pauses=(0.02 0.05 0.1 0.1 0.2) next=0
	shift
	until "$@" >"$said" 2>&1; do
		((${EPOCHREALTIME/[.,]/} < deadline_us)) || {
			cat "$said"
			return 1
		}
		pause "${pauses[next]}"
		((next == ${#pauses[@]} - 1)) || next=$((next + 1))
	done
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# --- checks ----------------------------------------------------------------

ok() {
	echo "ok: $1"
	RADIO_PASSED=$((RADIO_PASSED + 1))
	trap radio_tally EXIT
}

# Shows what a failed command said, if anything.
show() { [ -z "$1" ] || printf '%s\n' "$1" | sed 's/^/  | /'; }

# fail NAME [WHY]: counts a failure and goes on.
fail() {
	echo "FAILED: $1${2:+: $2}"
	RADIO_FAILED=$((RADIO_FAILED + 1))
	trap radio_tally EXIT
}

# What more to print when a check fails: for who has a log.
radio_explain() { :; }

# check NAME COMMAND...: one check; what COMMAND says is shown if it fails.
# Always true, so that `set -e` does not end the scenario: see require.
check() {
	local name=$1 said status=0
	shift
	said=$("$@" 2>&1) || status=$?
	if [ "$status" -eq 0 ]; then
		ok "$name"
	else
		fail "$name" "\"$*\" exited with $status"
		show "$said"
		show "$(radio_explain)"
	fi
}

# refute NAME COMMAND...: a check that COMMAND fails.
refute() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then
		fail "$name" "\"$*\" succeeded"
		show "$said"
	else
		ok "$name"
	fi
}

# require NAME COMMAND...: a check without which the rest makes no sense.
require() {
	local failed_before=$RADIO_FAILED
	check "$@"
	[ "$RADIO_FAILED" -eq "$failed_before" ] || exit 1
}

# Runs at exit once anything was checked.
radio_tally() {
	local status=$?
	trap - EXIT
	if [ "$status" -ne 0 ] && [ "$RADIO_FAILED" -eq 0 ]; then
		fail "the scenario reached its end" "it exited with $status"
	fi
	echo "$RADIO_PASSED passed, $RADIO_FAILED failed"
	# A bare `exit` here would mean the status the scenario came with.
	exit "$((RADIO_FAILED > 0))"
}

# What a scenario cannot do without, outside of any check.
radio_need() {
	local what=$1
	shift
	"$@" && return
	fail "$what" "\"$*\" failed"
	exit 1
}

# --- the radio -------------------------------------------------------------

# radio_up [ADAPTERS]: D-Bus, that many controllers and bluetoothd, all ready.
radio_up() {
	dbus_start
	btvirt_start "${1:-${RADIO_ADAPTERS:-2}}"
	# shellcheck disable=SC2119
	bluetoothd_start
}

dbus_start() {
	mkdir -p /run/dbus
	[ -S /run/dbus/system_bus_socket ] || dbus-daemon --system --fork
	radio_need "the system bus is up" await "$RADIO_PATIENCE_S" test -S /run/dbus/system_bus_socket
}

# The controllers there are, one "hciN" a line; links ("hci0:11") are not.
adapters() {
	local path
	for path in /sys/class/bluetooth/hci*; do
		[[ ${path##*/} =~ ^hci[0-9]+$ ]] && echo "${path##*/}"
	done
	return 0
}

adapter_count_is() { [ "$(adapters | wc -l)" -eq "$1" ]; }

# COUNT adapters, each past the kernel's initial exchange with its controller:
# only then does it have an address.
adapters_are_ready() { # COUNT
	adapter_count_is "$1" && ! hciconfig | grep -q 'BD Address: 00:00:00:00:00:00'
}

# btvirt_start COUNT [BTVIRT-OPTION...]: e.g. btvirt_start 2 -L (LE only).
btvirt_start() {
	local attempt
	RADIO_BTVIRT_ARGS=("$@")
	# The kernel gives a controller 10 s to answer its first command and never
	# asks again ("Opcode 0x0c03 failed: -110", seen when the host had a load of
	# 8 on two processors).  Fresh controllers get a fresh chance.
	for attempt in 1 2 3 4 5; do
		btvirt_launch "$@"
		await "$((15 + 2 * $1))" adapters_are_ready "$1" && return
		echo "controllers not ready in time, attempt $attempt; starting them again"
		radio_unplug
	done
	radio_need "$1 controllers are there" false
}

btvirt_launch() { # COUNT [BTVIRT-OPTION...]
	LD_PRELOAD=${RADIO_PRELOAD:-} btvirt "${@:2}" "-l$1" \
		>>"$RADIO_OUT/btvirt.log" 2>&1 &
	RADIO_BTVIRT_PID=$!
	disown "$RADIO_BTVIRT_PID" # no notice when it ends, and `wait` does not wait for it
}

# radio_unplug: every controller vanishes, as if its USB stick were pulled.
radio_unplug() {
	kill -KILL "$RADIO_BTVIRT_PID"
	RADIO_BTVIRT_PID=
	radio_need "the controllers are gone" await "$RADIO_PATIENCE_S" adapter_count_is 0
}

# radio_replug: the same controllers again, set up by bluetoothd if it runs.
radio_replug() {
	btvirt_start "${RADIO_BTVIRT_ARGS[@]}"
	[ -z "$RADIO_BLUETOOTHD_PID" ] || radio_settle
}

# adapter_addr N: the address of hciN.
adapter_addr() {
	[[ $(hciconfig "hci$1") =~ "BD Address: "([0-9A-F:]+) ]]
	echo "${BASH_REMATCH[1]}"
}

# adapter_get N PROPERTY: org.bluez.Adapter1's PROPERTY of hciN, e.g. Powered.
adapter_get() {
	local said
	said=$(dbus-send --system --print-reply=literal --dest=org.bluez \
		"/org/bluez/hci$1" org.freedesktop.DBus.Properties.Get \
		string:org.bluez.Adapter1 "string:$2")
	echo "${said##* }"
}

adapter_ask_set() {
	dbus-send --system --print-reply --dest=org.bluez \
		"/org/bluez/hci$1" org.freedesktop.DBus.Properties.Set \
		string:org.bluez.Adapter1 "string:$2" "variant:$3" >/dev/null
}

# adapter_set N PROPERTY TYPE:VALUE: e.g. adapter_set 0 Discoverable boolean:true
adapter_set() {
	adapter_ask_set "$@" && return
	bluetoothd_hangs || return
	bluetoothd_renew
	adapter_ask_set "$@"
}

# device_get N ADDRESS PROPERTY: org.bluez.Device1's, as hciN knows the device, in
# dbus-send's words; false if it does not.
device_get() {
	dbus-send --system --print-reply=literal --dest=org.bluez \
		"/org/bluez/hci$1/dev_${2//:/_}" \
		org.freedesktop.DBus.Properties.Get \
		string:org.bluez.Device1 "string:$3"
}
device_flag() { device_get "$@" 2>/dev/null | grep -q true; } # e.g. Paired
device_forget() { # N ADDRESS
	dbus-send --system --print-reply --dest=org.bluez "/org/bluez/hci$1" \
		org.bluez.Adapter1.RemoveDevice \
		"objpath:/org/bluez/hci$1/dev_${2//:/_}" >/dev/null
}

# has_link N [PEER]: hciN has one, to that device or to any.
has_link() { hcitool -i "hci$1" con | grep -q "${2:-ACL}"; }
has_no_link() { ! has_link "$@"; }

# See bluetoothd_end. Whoever has started it, systemd (as in "service") or we.
bluetoothd_hangs() {
	local pid
	pid=$(pgrep --exact bluetoothd) &&
		grep -qs l2cap_sock_accept "/proc/$pid/stack"
}
RADIO_RENEWALS=0
bluetoothd_renew() {
	RADIO_RENEWALS=$((RADIO_RENEWALS + 1))
	echo "bluetoothd hangs, and is started anew"
	bluetoothd_kill
	bluetoothd_start
}

# Of all at once: on an emulated processor each question takes its time.
adapters_are_powered() {
	local powered
	powered=$(dbus-send --system --print-reply --dest=org.bluez / \
		org.freedesktop.DBus.ObjectManager.GetManagedObjects |
		grep -A 1 'string "Powered"' | grep -c true) || return
	adapter_count_is "$powered"
}
adapters_are_powered_or_stuck() { adapters_are_powered || bluetoothd_hangs; }

# Every adapter known to bluetoothd and powered by it, SSP as wanted.
radio_settle() {
	local adapter
	await "$RADIO_PATIENCE_S" adapters_are_powered_or_stuck || :
	! bluetoothd_hangs || bluetoothd_renew
	radio_need "bluetoothd has powered the adapters" \
		await "$RADIO_PATIENCE_S" adapters_are_powered
	[ "$RADIO_SSP" = on ] || for adapter in $(adapters); do
		hciconfig "$adapter" sspmode 0
	done
}

# make_connectable N...: for phones; bluetoothd leaves adapters deaf to pages.
make_connectable() {
	local number
	for number; do
		hciconfig "hci$number" piscan
	done
}

# radio_vanish N PEER: hciN, which has a link to PEER, goes out of range. Its
# controller is told of a connection timeout (0x08, which the other side's passes
# on as it is given), and pages are not heard any more, until make_connectable.
radio_vanish() {
	local handle octets
	hciconfig "hci$1" noscan
	handle=$(hcitool -i "hci$1" con | sed -n "s/.*$2 handle \([0-9]*\) .*/\1/p")
	printf -v octets '%02x %02x' $((handle & 255)) $((handle >> 8))
	# shellcheck disable=SC2086 # two words
	hcitool -i "hci$1" cmd 0x01 0x0006 $octets 08 >/dev/null
}

# What it does it tells with RADIO_DEBUG set (--env RADIO_DEBUG=1): an emulated one
# takes as long to write it down as to do it.
: "${RADIO_DEBUG:=}"

# bluetoothd_start [OPTION...]: stock options, unless a scenario is about others.
# shellcheck disable=SC2120 # options are for scenarios to give
bluetoothd_start() {
	# It may say much, and would wait for $RADIO_OUT, outside, with each line.
	/usr/libexec/bluetooth/bluetoothd -n ${RADIO_DEBUG:+-d} "$@" \
		> >(exec cat >>"$RADIO_OUT/bluetoothd.log") 2>&1 &
	RADIO_BLUETOOTHD_PID=$!
	disown "$RADIO_BLUETOOTHD_PID"
	radio_settle
}

# bluetoothd_stop: orderly; it powers its adapters down, so every link dies.
bluetoothd_stop() { bluetoothd_end TERM; }

# bluetoothd_kill: it has no time for anything; links stay up.
bluetoothd_kill() { bluetoothd_end KILL; }

# bluetoothd 5.66 can hang for good in accept(2) on its SDP listener, which is
# blocking, when a client left before it was accepted (seen under load, on 6.12:
# l2cap_sock_accept). Nothing but SIGKILL ends it then.
bluetoothd_end() {
	kill "-$1" "$RADIO_BLUETOOTHD_PID"
	if ! await 20 is_gone "$RADIO_BLUETOOTHD_PID"; then
		echo "bluetoothd hangs, and is killed:"
		show "$(cat "/proc/$RADIO_BLUETOOTHD_PID/stack" 2>&1)"
		kill -KILL "$RADIO_BLUETOOTHD_PID"
	fi
	radio_need "bluetoothd has ended" await "$RADIO_PATIENCE_S" is_gone "$RADIO_BLUETOOTHD_PID"
	RADIO_BLUETOOTHD_PID=
}

# as_nobody COMMAND...: without root, groups or any capability, nor a way back.
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
		--bounding-set=-all --no-new-privs -- "$@"
}

# as_nobody_within SECONDS COMMAND...: timeout(1) around it, not in it: nobody may
# be in no position to find the program, where setpriv(1) still is.
as_nobody_within() {
	timeout "$1" setpriv --reuid=65534 --regid=65534 --clear-groups \
		--inh-caps=-all --bounding-set=-all --no-new-privs -- "${@:2}"
}
