#!/bin/sh
# Builds the Debian packages: build.sh VERSION FOLDER
#
# Called by `make deb`.  Needs dpkg-dev, debhelper and the build dependencies of packaging/deb/debian/control.
# Leaves the source and the binary packages in FOLDER.  DEB_BUILD_OPTIONS as always: nocheck skips the unit
# tests, parallel=2 says how many compilers run.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
tree=$folder/penstock-$version

if [ "$(sed -n '1s/^penstock (\([^-]*\)-.*/\1/p' "$here/debian/changelog")" != "$version" ]; then
    echo "build.sh: packaging/deb/debian/changelog is not about version $version" >&2
    exit 1
fi
rm -rf "$tree" "$folder"/penstock_* "$folder"/penstock-dbgsym_*
"$here/../tarball.sh" "$version" "$folder/penstock_$version.orig.tar.gz"
tar -C "$folder" -xf "$folder/penstock_$version.orig.tar.gz"
cp -r "$here/debian" "$tree/debian"
cd "$tree"
DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-parallel=$(nproc)}" dpkg-buildpackage --no-sign --build=full
