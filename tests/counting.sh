# shellcheck shell=bash
# Checks that are counted, for tests that are a list of commands.
passed=0 failed=0
check() { # NAME COMMAND...
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then
		echo "ok: $name"
		passed=$((passed + 1))
	else
		echo "FAILED: $name"
		printf '%s\n' "$said" | tail -n 40 | sed 's/^/  | /'
		failed=$((failed + 1))
	fi
}
negate() { ! "$@"; }
refute() { # NAME COMMAND...
	local name=$1
	shift
	check "$name" negate "$@"
}
finish() {
	echo "$passed passed, $failed failed"
	exit "$((failed > 0))"
}
