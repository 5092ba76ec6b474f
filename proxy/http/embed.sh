#!/bin/sh
# embed.sh NAME < FILE: prints a C file that holds the bytes of FILE as NAME and their number as NAME_size.
# Called by make.
set -eu
printf '/* Made by embed.sh; do not edit. */\n#include <stddef.h>\nextern const unsigned char %s[];\n' "$1"
printf 'extern const size_t %s_size;\nconst unsigned char %s[] = {\n' "$1" "$1"
od -An -v -tu1 | sed 's/  */,/g; s/^,//; s/$/,/'
printf '};\nconst size_t %s_size = sizeof(%s);\n' "$1" "$1"
