# shellcheck shell=bash
# For scenarios in which something goes wrong around a gateway; after gateway.sh.
#
#   calm_start tcp tcp 4999
#   fault_begin "bluetoothd stopped"
#   bluetoothd_stop
#   ...
#   fault_end "bluez: ready -> no bluetoothd" 1
#   faults_print
#
# Beside it are sessions that lose nothing (see calm); after it descriptors and
# memory are what they were, the log has told of it so many times and no more, and
# the gateway sleeps. The outcome is a row in a table.
FAULTS=()
FAULT=
declare -A CALM_ASKS CALM_ANSWERS
# A page here and there. What sanitizers need is theirs (6 MiB at once, now and
# then); they look for leaks themselves.
FAULT_KB_MOST=1024
if grep -qa __asan_init "$BTGATE"; then FAULT_KB_MOST=; fi

# calm_start NAME ARGUMENT...: a session from now on, until calm_end.
calm_start() {
	local path=/run/calm-$1 ask answer
	mkfifo "$path.ask" "$path.answer"
	exec {ask}<>"$path.ask" {answer}<>"$path.answer"
	CALM_ASKS[$1]=$ask CALM_ANSWERS[$1]=$answer
	/usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/calm" "${@:2}" \
		<"$path.ask" >"$path.answer" 2>"$RADIO_OUT/calm-$1.log" &
	require "$1: a session beside what happens" calm_tell "$1" pause
}

# calm_tell NAME WORD: how many bytes have passed; false if one was lost.
calm_tell() {
	local total
	echo "$2" >&"${CALM_ASKS[$1]}"
	read -r -t 90 total <&"${CALM_ANSWERS[$1]}" && echo "$total" && return
	cat "$RADIO_OUT/calm-$1.log"
	return 1
}
calm_tell_all() { # WORD
	local name
	for name in "${!CALM_ASKS[@]}"; do
		calm_tell "$name" "$1" || return
	done
}
# calm_total WORD: the same of all together.
calm_total() { calm_tell_all "$1" | awk '{ total += $1 } END { print total + 0 }'; }
calm_end() { # NAME
	check "$1: nothing was lost in all that time" calm_tell "$1" end
	local ask=${CALM_ASKS[$1]} answer=${CALM_ANSWERS[$1]}
	exec {ask}>&- {answer}>&-
	unset "CALM_ASKS[$1]" "CALM_ANSWERS[$1]"
	rm "/run/calm-$1".*
}

gateway_fds() { find "/proc/$GATEWAY_PID/fd" -mindepth 1 | wc -l; }
# A route that dials again and again has one more now and then, and what has only just
# ended may have one left.
gateway_fds_at_rest() { # LOOKS
	local least now i
	least=$(gateway_fds)
	for ((i = 1; i < $1; i++)); do
		pause 0.3
		now=$(gateway_fds)
		if ((now < least)); then least=$now; fi
	done
	echo "$least"
}
gateway_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$GATEWAY_PID/status"; }
# All time that it ran or waited to run; the third field of stat is what it does.
gateway_runs() { cat "/proc/$GATEWAY_PID/schedstat"; }
gateway_sleeps() {
	local before
	before=$(gateway_runs)
	pause 0.2
	[ "$(gateway_runs)" = "$before" ] &&
		[ "$(awk '{ print $3 }' "/proc/$GATEWAY_PID/stat")" = S ]
}
gateway_list_fds() { ls -l "/proc/$GATEWAY_PID/fd"; }
gateway_has_fds() {
	[ "$(gateway_fds)" -eq "$1" ] && return
	echo "before:"
	cat /run/fault-fds
	echo "now:"
	gateway_list_fds
	return 1
}
gateway_said() { tail -n "+$((FAULT_LINE + 1))" "$GATEWAY_LOG" | grep -cE -- "$1" || true; }

fault_begin() { # NAME [LOOKS]
	FAULT=$1
	require "$FAULT: those beside it are well" calm_tell_all pause
	require "$FAULT: it sleeps before" await "$GATEWAY_WAIT_S" gateway_sleeps
	FAULT_FDS=$(gateway_fds_at_rest "${2:-2}")
	gateway_list_fds >/run/fault-fds
	FAULT_KB=$(gateway_kb)
	FAULT_LINE=$(wc -l <"$GATEWAY_LOG")
	FAULT_BYTES=$(calm_total go)
	FAULT_RENEWALS=$RADIO_RENEWALS
}

fault_end() { # PATTERN COUNT: what the log tells, and how many times
	local passed said=0 grown
	check "$FAULT: nothing is lost beside it" calm_tell_all go
	passed=$(($(calm_total pause) - FAULT_BYTES))
	check "$FAULT: descriptors are what they were" \
		await "$GATEWAY_WAIT_S" gateway_has_fds "$FAULT_FDS"
	check "$FAULT: it sleeps" await "$GATEWAY_WAIT_S" gateway_sleeps
	grown=$(($(gateway_kb) - FAULT_KB))
	[ -z "$FAULT_KB_MOST" ] || check "$FAULT: memory is, too ($grown KiB more)" \
		test "$grown" -lt "$FAULT_KB_MOST"
	if [ "$RADIO_RENEWALS" -ne "$FAULT_RENEWALS" ]; then
		echo "bluetoothd hung, and told the gateway nothing of it"
		said=-
	elif [ -n "$1" ]; then
		said=$(gateway_said "$1")
		check "$FAULT: said $2 times" test "$said" -eq "$2"
	fi
	FAULTS+=("$(printf '%-40s %10s KiB %7s KiB %+12d %10s  yes' "$FAULT" \
		$((passed / 1024)) "$grown" $(($(gateway_fds) - FAULT_FDS)) "$said")")
}

faults_print() {
	printf '\n%-40s %14s %11s %12s %10s  %s\n' fault "passed beside" memory \
		descriptors "log lines" asleep
	printf '%s\n' "${FAULTS[@]}"
}
