# Names, processes and waiting. Sourced by scripts/services.

say() { echo "services: $*" >&2; }
die() { say "$*"; exit 1; }

# The names of services a user means, in the order in which they start.
services_named() {
  local wanted=" " name
  for name in "$@"; do
    case "$name" in
      default) wanted+="$default_services " ;;
      all) wanted+="$all_services " ;;
      kafka | registry | postgres | clickhouse | s3) wanted+="$name " ;;
      connect) wanted+="kafka connect " ;; # it keeps its configuration and offsets in topics
      *) say "there is no service '$name'; there are: $all_services"; exit 2 ;;
    esac
  done
  for name in $all_services; do
    [[ "$wanted" != *" $name "* ]] || echo "$name"
  done
}

# name_or_die NAME [MORE NAMES THAT WILL DO]
name_or_die() {
  case " $all_services ${2:-} " in
    *" $1 "*) ;;
    *) say "there is no service '$1'; there are: $all_services"; exit 2 ;;
  esac
}

which_mode() {
  case "${TOMBOLA_SERVICES_MODE:-auto}" in
    docker | native) echo "$TOMBOLA_SERVICES_MODE" ;;
    auto) if docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then echo docker; else echo native; fi ;;
    *) say "TOMBOLA_SERVICES_MODE is docker, native or auto"; exit 2 ;;
  esac
}

make_state() {
  mkdir -p "$state"
  [ -O "$state" ] || die "$state belongs to somebody else; set TOMBOLA_SERVICES_STATE"
  mkdir -p "$state/run" "$state/log" "$state/data"
  chmod 755 "$state"
}

# Whoever changes an instance does so alone; the lock is not in its state, as that may go away meanwhile.
lock_instance() {
  mkdir -p "$downloads"
  exec 8> "$downloads/.$(basename "$state").lock"
  flock 8
}

# When a process started, in clock ticks since boot; empty if there is none. A reused pid has another.
started_at() {
  local line
  line="$(cat "/proc/$1/stat" 2>/dev/null)" || return 0
  line="${line##*) }"
  # shellcheck disable=SC2086 # fields
  set -- $line
  echo "${20}"
}

# launch SERVICE COMMAND...: in a session of its own, with its log, remembered by pid and start time.
launch() {
  local service="$1" pid
  shift
  echo "== $(date -u +%FT%TZ) start" >> "$state/log/$service"
  setsid nohup "$@" >> "$state/log/$service" 2>&1 < /dev/null 8>&- &
  pid=$!
  echo "$pid $(started_at "$pid")" > "$state/run/$service"
}

# The pid of a service that runs and was started by us; fails if there is none.
pid_of() {
  local pid since
  [ -r "$state/run/$1" ] || return 1
  read -r pid since < "$state/run/$1" || return 1
  [ -n "$since" ] && [ "$(started_at "$pid")" = "$since" ] && ! is_zombie "$pid" && echo "$pid"
}

is_zombie() { grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# A process and all below it, parents first: Postgres is many.
tree_of() {
  ps -e -o pid=,ppid= | awk -v root="$1" '
    { parent[$1] = $2 }
    function below(p) { while (p in parent) { if (p == root) return 1; p = parent[p] } return 0 }
    END { print root; for (p in parent) if (p != root && below(p)) print p }'
}

signal_tree() {
  local signal="$1" pid
  for pid in $(tree_of "$2"); do
    kill -s "$signal" "$pid" 2>/dev/null || true
  done
}

# wait_until SECONDS COMMAND...: true as soon as the command succeeds.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

is_gone() { ! [ -e "/proc/$1" ] || is_zombie "$1"; }

is_reaped() { ! [ -e "/proc/$1" ]; }

get() { curl -fsS --max-time 5 "$@"; }

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Of all that was ever brought up here, so that bringing up one more forgets none.
endpoints_file() {
  local service
  {
    echo "# Written by scripts/services; for 'set -a; . FILE'."
    for service in $all_services; do
      [ ! -e "$state/run/$service" ] || "${service}_endpoints"
    done
    tls_endpoints
  } > "$state/endpoints.env.new"
  mv "$state/endpoints.env.new" "$state/endpoints.env"
}

show_endpoints() {
  [ -r "$state/endpoints.env" ] || die "nothing was brought up here ($state)"
  cat "$state/endpoints.env"
  say "written to $state/endpoints.env"
}
