#!/bin/sh
# tied.sh COMMAND...: runs COMMAND for as long as somebody holds the other end of standard input.
#
# The test that starts a broker holds the pipe. However that test ends (returns, panics, is killed with SIGKILL), the
# kernel closes the pipe, `cat` sees the end of file and the broker is killed, by the process id that this script got.
# When COMMAND ends first, this script ends with its exit code, so that its starter sees that too.
set -u
exec 3<&0
"$@" 3<&- </dev/null &
command=$!
(
    cat >/dev/null
    kill -KILL "$command" 2>/dev/null
) <&3 &
watch=$!
exec 3<&-
wait "$command"
code=$?
# The watch outlives COMMAND only while the pipe is still open; it must not kill a later process of the same id.
kill "$watch" 2>/dev/null
exit "$code"
