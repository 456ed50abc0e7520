# shellcheck shell=bash
# TAP for checks written in bash. Source it, call passes, empty and skip, end with `done_testing`.

tests=0
slow=${SKELD_TEST_SLOW:-10} # multiplies every time limit, see skeld_test.cmake

# Retry COMMAND until it succeeds. After the time limit, print its last output and fail.
eventually() { # COMMAND...
	local output deadline=$((SECONDS + 10 * slow))
	until output=$("$@" 2>&1); do
		((SECONDS < deadline)) || { echo "timeout: $*" && echo "$output" && return 1; }
		sleep 0.05
	done
}

# The test passes if COMMAND succeeds; otherwise its output is the message.
passes() { # NAME COMMAND...
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		ok "$name"
	else
		not_ok "$name" "$output"
	fi
}

# The test passes if COMMAND prints nothing; it prints only mistakes. Exit status 1 is no failure, as of grep(1).
empty() { # NAME COMMAND...
	local name=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	if [[ ! $output ]] && ((status <= 1)); then
		ok "$name"
	else
		not_ok "$name" "$output"
	fi
}

ok() { # NAME
	echo "ok $((++tests)) - $1"
}

not_ok() { # NAME MESSAGE
	echo "not ok $((++tests)) - $1"
	[[ ! $2 ]] || echo "# ${2//$'\n'/$'\n'# }"
}

skip() { # NAME WHY
	echo "ok $((++tests)) - $1 # SKIP $2"
}

done_testing() {
	echo "1..$tests"
}
