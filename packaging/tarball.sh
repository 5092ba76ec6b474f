#!/bin/sh
# Packs the sources of this folder: tarball.sh VERSION FILE.tar.gz
#
# Called by the recipes for packages.  What is built and what belongs to git stays out; two runs over the
# same files give the same bytes.
set -eu

version=$1
target=$(realpath -m "$2")
cd "$(dirname "$0")/.."
mkdir -p "$(dirname "$target")"
tar --create --anchored --exclude=./build --exclude='./build-*' --exclude=./.git \
    --no-anchored --exclude=__pycache__ --exclude=node_modules \
    --sort=name --mtime=@1764201600 --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s \
    --transform="s,^\.,penstock-$version," . | gzip -n -9 >"$target.new"
mv "$target.new" "$target"
