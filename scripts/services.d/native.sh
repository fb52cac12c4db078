# Services as plain processes of this machine, from package registries. Sourced by scripts/services.

up() {
  local service began=$SECONDS
  [ "$(uname -sm)" = "Linux x86_64" ] || die "without Docker this needs Linux on x86_64; here is $(uname -sm)"
  make_state
  for service in "$@"; do
    pid_of "$service" >/dev/null || "${service}_install"
  done
  # All start at once; Connect waits for Kafka by itself, and its tables are made once Postgres answers.
  for service in "$@"; do
    pid_of "$service" >/dev/null || start_one "$service"
  done
  for service in "$@"; do
    await "$service"
  done
  write_endpoints
  show_endpoints
  say "up after $((SECONDS - began)) s: $*"
}

fetch() {
  local service
  for service in "$@" python; do
    "${service}_install"
  done
}

start_one() {
  local port_name="${1}_port"
  port_is_free "${!port_name}" || die "port ${!port_name} of $1 is taken; set TOMBOLA_SERVICES_PORT_BASE"
  "$1_start"
}

# Ends with the service answering, or with the end of its log.
await() {
  local service="$1" end=$((SECONDS + 300))
  until "${service}_ready" >/dev/null 2>&1; do
    if ! pid_of "$service" >/dev/null; then
      tail -n 20 "$state/log/$service" >&2
      die "$service ended; its log is $state/log/$service"
    fi
    if [ $SECONDS -ge $end ]; then
      tail -n 20 "$state/log/$service" >&2
      die "$service does not answer after 300 s; its log is $state/log/$service"
    fi
    sleep 0.2
  done
}

down() {
  local service pid
  # Connect before what it talks to, so that it says good-bye to it.
  for service in connect s3 clickhouse registry kafka postgres; do
    pid="$(pid_of "$service")" && halt "$service" "$pid"
    rm -f "$state/run/$service"
  done
  if [ "$1" = remove ] && [ -d "$state" ]; then
    [ -O "$state" ] && [ -d "$state/run" ] || die "$state was not made by this script; remove it by hand"
    rm -rf "$state"
  fi
  say "down"
}

# Politely first; a stopped process hears nothing, so it is woken up.
halt() {
  local polite=TERM
  [ "$1" != postgres ] || polite=INT # its fast shutdown: don't wait for clients
  signal_tree CONT "$2"
  kill -s "$polite" "$2" 2>/dev/null || true
  wait_until 15 is_gone "$2" || { say "$1 does not end, killing it"; signal_tree KILL "$2"; wait_until 5 is_gone "$2" || true; }
}

status() {
  local service pid port_name word bad=0 any=0
  printf '%-11s %-8s %8s %6s %9s\n' service state pid port 'rss (MB)'
  for service in $all_services; do
    port_name="${service}_port"
    [ ! -e "$state/run/$service" ] || any=1
    if pid="$(pid_of "$service")"; then
      word=up
      if grep -q '^State:.T' "/proc/$pid/status"; then word=stopped; bad=1; elif ! "${service}_ready" >/dev/null 2>&1; then word=silent; bad=1; fi
      printf '%-11s %-8s %8s %6s %9s\n' "$service" "$word" "$pid" "${!port_name}" "$(memory_mb "$pid")"
    elif [ -e "$state/run/$service" ]; then
      printf '%-11s %-8s %8s %6s\n' "$service" down - "${!port_name}"
      bad=1
    else
      printf '%-11s %-8s %8s %6s\n' "$service" 'not up' - "${!port_name}" # nobody asked for it
    fi
  done
  [ "$bad" = 0 ] && [ "$any" = 1 ] || exit 1
}

# Proportional share, summed: Postgres' processes share their buffers.
memory_mb() {
  local pid
  for pid in $(tree_of "$1"); do cat "/proc/$pid/smaps_rollup" 2>/dev/null; done | awk '/^Pss:/ { kb += $2 } END { print int(kb / 1024) }'
}

logs() {
  local service
  for service in $([ "$1" = all ] && echo "$all_services" || echo "$1"); do
    [ -r "$state/log/$service" ] || continue
    [ "$1" != all ] || echo "==> $service <=="
    cat "$state/log/$service"
  done
}

running_or_die() { pid_of "$1" || die "$1 does not run; scripts/services start $1"; }

kill_service() {
  local pid one members
  pid="$(running_or_die "$1")"
  members="$(tree_of "$pid")"
  signal_tree KILL "$pid"
  for one in $members; do wait_until 10 is_gone "$one" || die "$1 ($one) survives SIGKILL"; done
  wait_until 3 is_reaped "$pid" || true # not every process 1 is quick at it
}

stop_service() { signal_one STOP "$1"; }

cont_service() { signal_one CONT "$1"; }

signal_one() {
  local pid
  pid="$(running_or_die "$2")"
  signal_tree "$1" "$pid"
}

start_service() {
  if pid_of "$1" >/dev/null; then
    say "$1 runs already"
  else
    [ -d "$state/run" ] || die "nothing was brought up here ($state); scripts/services up $1"
    "${1}_install"
    start_one "$1"
  fi
  await "$1"
  write_endpoints
}

write_endpoints() { endpoints_file; }
