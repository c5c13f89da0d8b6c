#!/usr/bin/env bash
# Makes each file that is named, by default the token of Ray: 64 random hexadecimal digits, readable by its owner
# alone (0600). A file that is there keeps what is in it. Nothing of a secret is printed.
#
#   clusters/secrets.sh [FILE ...]
set -euo pipefail
umask 077

if [[ ${1:-} == -* ]]; then
    sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p;}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
[ $# -gt 0 ] || set -- "$HOME/.ray/auth_token"
for file; do
    mkdir -p "$(dirname "$file")"
    if [ ! -e "$file" ] && [ ! -L "$file" ]; then
        new=$(mktemp "$file.XXXXXX")
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$new"
        # A link is made whole or not at all, and never in the place of a file that someone else has just made.
        ln "$new" "$file" 2>/dev/null || true
        rm "$new"
    fi
    if [ ! -f "$file" ] || ! grep -q '[^[:space:]]' "$file"; then
        echo "secrets.sh: $file is no file with a secret in it: remove it and run this again" >&2
        exit 1
    fi
    chmod 600 "$file"
done
