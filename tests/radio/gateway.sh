# shellcheck shell=bash
# For scenarios with a gateway in them: starts ${BTGATE} as an unprivileged user
# on hci0, awaits its log lines, stops it and looks at how it went.
#
#   . "${RADIO_LIB:?}"
#   . "$(dirname "$0")/gateway.sh"
#   gateway_start <<'END'
#   [route echo] ...
#   END

: "${BTGATE:?give the program with --env BTGATE=/path/to/btgate}"
: "${RADIO_OUT:?}"

GATEWAY_PID=
GATEWAY_RUN=0
GATEWAY_LOG=
# Sanitizers make everything slower; deadlines grow, what is asked does not.
GATEWAY_WAIT_S=30

# The routes in this directory's examples run unprivileged, as in production:
# the service manager makes this for them.
gateway_directory() { install -d -o nobody -m 755 /run/btgate; }

# gateway_start: the configuration comes on standard input.
# Returns once every route listens and every record is up.
gateway_start() {
	gateway_launch
	local bluetooth
	bluetooth=$(grep -c '^listen *= *rfcomm' "$GATEWAY_CONF" || true)
	require "the gateway is up" await_log "service record up" "$bluetooth"
}

# The same without waiting for anything.
gateway_launch() {
	GATEWAY_RUN=$((GATEWAY_RUN + 1))
	# Not in $RADIO_OUT: that is as private as the directory outside.
	GATEWAY_CONF=/run/gateway-$GATEWAY_RUN.conf
	GATEWAY_LOG=$RADIO_OUT/gateway-$GATEWAY_RUN.log
	tee "$RADIO_OUT/${GATEWAY_CONF##*/}" >"$GATEWAY_CONF"
	gateway_directory
	setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
		--bounding-set=-all --no-new-privs -- \
		"$BTGATE" run -v -c "$GATEWAY_CONF" >"$GATEWAY_LOG" 2>&1 &
	GATEWAY_PID=$!
}

# log_has PATTERN [COUNT]: at least COUNT lines (default 1).
log_has() { [ "$(grep -cE -- "$1" "$GATEWAY_LOG")" -ge "${2:-1}" ]; }

# await_log PATTERN [COUNT]
await_log() {
	await "$GATEWAY_WAIT_S" log_has "$@" && return
	echo "no '$1' in the gateway's log"
	return 1
}

radio_explain() { [ ! -e "$GATEWAY_LOG" ] || tail -n 30 "$GATEWAY_LOG"; }

gateway_lives() { kill -0 "$GATEWAY_PID"; }

# An orderly stop with nothing left behind; sanitizers report at the end.
gateway_stop() {
	local status=0
	kill -TERM "$GATEWAY_PID" || true
	wait "$GATEWAY_PID" || status=$?
	check "the gateway stopped in order" test "$status" -eq 0
	refute "and no sanitizer complained" \
		grep -E "Sanitizer|runtime error" "$GATEWAY_LOG"
	check "and left nothing behind" test -z "$(ls -A /run/btgate)"
	if [ "$status" -ne 0 ]; then show "$(tail -n 40 "$GATEWAY_LOG")"; fi
}

# socat_rfcomm ADDRESS CHANNEL [LOCAL-ADDRESS]: socat's raw form of a sockaddr_rc
# (family 31, protocol 3): the address backwards, the channel, a pad byte.
socat_rfcomm() {
	local octets
	IFS=: read -ra octets <<<"$1"
	printf 'SOCKET-CONNECT:31:3:x%s%s%s%s%s%s%02x00%s' "${octets[5]}" \
		"${octets[4]}" "${octets[3]}" "${octets[2]}" "${octets[1]}" \
		"${octets[0]}" "$2" "${3:-}"
}

# same_file A B: compared by hash, as a person would.
same_file() {
	[ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ] && [ -s "$1" ]
}
