#!/bin/sh
# tidy.sh - runs clang-tidy over the files that changed since they were last clean.  Called by `make tidy`.
#
# usage: tidy.sh STAMPS changed|all FILE... -- FLAG...
# A file is clean while the checksum of its preprocessed text and of .clang-tidy is the one of its stamp.
set -u
stamps=$1 mode=$2
shift 2
files=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    files="$files $1"
    shift
done
shift
mkdir -p "$stamps"
failed=0 run=0
for f in $files; do
    [ -e "$f" ] || continue
    stamp=$stamps/$(echo "$f" | tr / _)
    sum=$( (cat .clang-tidy && clang -E -P "$@" "$f" 2>/dev/null) | sha256sum)
    if [ "$mode" = changed ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then
        continue
    fi
    run=$((run + 1))
    if clang-tidy --quiet "$f" -- "$@" 2>"$stamps/stderr"; then
        echo "$sum" >"$stamp"
    else
        grep -v -e 'warnings\{0,1\} generated' -e '^Suppressed' "$stamps/stderr"
        rm -f "$stamp"
        failed=$((failed + 1))
    fi
done
echo "tidy: $run files looked at, $failed with findings"
[ "$failed" -eq 0 ]
