#!/bin/sh
# run.sh - runs the unit test programs and adds up what cmocka says.  Called by `make unit`.
#
# usage: run.sh OUTDIR PROGRAM...
# Prints what failing programs said and which tests were skipped, then one summary line; leaves
# OUTDIR/summary ("passed failed skipped").
# A program that dies, hangs past 60 s or runs no test at all counts as one failure.
set -u
out=$1
shift
passed=0 failed=0 skipped=0
# As many at a time as there are processors.
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\n' "$@" | xargs -P "$(nproc)" -I {} \
    sh -c 'log=$1/${2##*/}.log; timeout 60 "$2" >"$log" 2>&1; echo $? >"$log.rc"' sh "$out" {}
for t in "$@"; do
    log=$out/${t##*/}.log
    rc=$(cat "$log.rc")
    rm -f "$log.rc"
    ok=$(grep -c '^\[       OK \]' "$log")
    # cmocka names a failed or skipped test twice: when it happens and in the closing list
    bad=$(sed -n 's/^\[  FAILED  \] \([A-Za-z0-9_]\{1,\}\)$/\1/p' "$log" | sort -u | wc -l)
    skip=$(sed -n 's/^\[  SKIPPED \] \([A-Za-z0-9_]\{1,\}\)$/\1/p' "$log" | sort -u | wc -l)
    if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    if [ $((ok + bad + skip)) -eq 0 ]; then bad=1; fi
    if [ "$bad" -gt 0 ]; then
        echo "---- $t (exit status $rc)"
        grep -v -e '^\[ RUN  ' -e '^\[       OK \]' "$log" | tail -n 60
    fi
    [ "$skip" -eq 0 ] || grep '^\[  SKIPPED \] [A-Za-z0-9_]*$' "$log" | sort -u
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
done
echo "$passed $failed $skipped" >"$out/summary"
echo "unit: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
