#!/bin/bash
# healthy PORT PATH: succeeds if a GET of PATH on this port of this machine returns status 200. The image has no HTTP
# client, and a shell is enough.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
read -r -t 5 _ status _ <&3
[ "$status" = 200 ]
