#!/bin/sh
# Builds the RPM packages: build.sh VERSION FOLDER
#
# Called by `make rpm`.  Needs rpmbuild.  Leaves the source and the binary packages in FOLDER.  On a system
# whose package manager is not rpm the build dependencies are not in its database, so they are not asked
# for there: what is missing fails to compile.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
top=$folder/rpmbuild

nodeps=
rpm -q rpm >/dev/null 2>&1 || nodeps=--nodeps
rm -rf "$top" "$folder"/*.rpm
mkdir -p "$top/SOURCES"
"$here/../tarball.sh" "$version" "$top/SOURCES/penstock-$version.tar.gz"
rpmbuild -ba $nodeps --define "_topdir $top" --define "penstock_version $version" "$here/penstock.spec"
find "$top/RPMS" "$top/SRPMS" -name '*.rpm' -exec mv {} "$folder/" \;
rm -rf "$top"
