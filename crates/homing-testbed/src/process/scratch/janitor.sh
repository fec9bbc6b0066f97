# Signals every recorded process that still runs, and sets $left if there is one. PostgreSQL ends its
# own children on QUIT (a stopped process needs CONT to notice it). All other groups are killed.
signal() {
  left=
  for record in "$1"/records/*; do
    read -r kind pid since <"$record" || continue
    [ -n "$since" ] && [ "$(started "$pid")" = "$since" ] || continue
    left=yes
    case $2:$kind in
      first:postgres) kill -s QUIT "$pid"; kill -s CONT "$pid" ;;
      wait:postgres) ;;
      *) kill -s KILL "-$pid" || kill -s KILL "$pid" ;;
    esac
  done
}

# Ends a testbed's processes and removes its folder $1, once standard input ends. Only the owner of
# the testbed writes to it, so at its end the owner has dropped its handle or has died. Ctrl-C and a
# closing terminal must not end the janitor.
clean() {
  trap '' HUP INT QUIT TERM
  while read -r _; do :; done
  : >"$1/closing"

  signal "$1" first
  # Servers that Patroni started are not on record.
  for file in "$1"/*/data/postmaster.pid; do
    read -r pid <"$file" && [ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ] && kill -s QUIT "$pid" && kill -s CONT "$pid"
  done
  attempt=0
  while [ -n "$left" ] && [ "$attempt" -lt 200 ]; do
    attempt=$((attempt + 1))
    sleep 0.02 || sleep 1
    signal "$1" wait
  done
  signal "$1" last

  # A PostgreSQL killed hard leaves a small System V segment, named on line 7 of its pid file. In a
  # container, root may only remove the segment of another user as that user (no CAP_IPC_OWNER).
  for file in "$1"/*/data/postmaster.pid; do
    [ -f "$file" ] || continue
    set -- "$1" $(sed -n 7p "$file")
    [ -n "$3" ] || continue
    ipcrm -m "$3" || su -s /bin/sh -c "ipcrm -m $3" "$(stat -c %U "$file")"
  done

  # The last children of a server killed hard may still be writing.
  attempt=0
  until rm -rf -- "$1" || [ "$attempt" -ge 50 ]; do
    attempt=$((attempt + 1))
    sleep 0.1 || sleep 1
  done
}
clean "$1"
