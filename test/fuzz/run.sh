#!/bin/sh
# run.sh - runs each fuzz target for a while over its committed corpus.  Called by `make fuzz-smoke`.
#
# usage: run.sh BINDIR SECONDS TARGET...
# The committed corpus (test/fuzz/corpus/<name>, name without "fuzz_") is only read; new inputs go to a
# scratch folder.  A dictionary test/fuzz/dict/<name>.dict is used when there is one.  Crashing inputs are
# left in BINDIR/crash-<name>-*: each becomes a corpus file together with its fix.
set -u
bin=$1 seconds=$2
shift 2
here=$(dirname "$0")
failed=0 run=0
for t in "$@"; do
    name=${t#fuzz_}
    scratch=$bin/new-$name
    mkdir -p "$scratch"
    set -- "$scratch"
    [ -d "$here/corpus/$name" ] && set -- "$@" "$here/corpus/$name"
    [ -f "$here/dict/$name.dict" ] && set -- "-dict=$here/dict/$name.dict" "$@"
    run=$((run + 1))
    if "$bin/$t" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$bin/crash-$name-" "$@" >"$bin/$name.log" 2>&1; then
        echo "fuzz: $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$bin/$name.log") inputs, no finding"
    else
        failed=$((failed + 1))
        echo "fuzz: $name: FAILED"
        tail -n 40 "$bin/$name.log"
    fi
done
echo "fuzz: $run targets, $failed failed"
[ "$failed" -eq 0 ]
