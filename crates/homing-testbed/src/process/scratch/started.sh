# Prints when process $1 started, or nothing if it has ended. The start and the number together
# identify a process. Linux has /proc but not always ps; macOS has ps but not /proc.
started() {
  if [ -d /proc/self ]; then
    read -r stat <"/proc/$1/stat" || return 0
    set -- ${stat##*) }
    state=$1 since=${20}
  else
    set -- $(ps -o stat= -o lstart= -p "$1")
    state=$1 since="$2 $3 $4 $5 $6"
  fi
  case $state in
    '' | Z* | X*) ;;
    *) echo "$since" ;;
  esac
}
